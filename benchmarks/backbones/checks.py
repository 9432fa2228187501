"""The checks that every backbone is put through, and the row of findings that they give.

A check raises `Wrong` when a result is not what it should be, and returns a remark otherwise. A ResonanceError of one
line counts as refused, and any other error as wrong.
"""

import dataclasses
import gc
import re
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.backbones.entry import LAYOUTS, Entry, called, leaves
from dynaxx import ResonanceError, ResonanceWarning, ResonantModel, load_resonance, stages, wrap_with_resonance
from dynaxx.backbone import canonical, capture, hooked

TOLERANCE = 1e-4
"""Largest difference between a batch and its samples one by one, relative to the largest output."""
COUPLING_STD = 0.1
"""Standard deviation of couplings that stand for trained ones."""

PASS, REFUSED, FAIL, NOT_RUN = "pass", "refused", "fail", "not run"


class Wrong(Exception):
    """A result that is not what it should be."""


@dataclass
class Finding:
    """The verdict of one check, and why."""

    verdict: str
    why: str = ""


@dataclass
class Row:
    """All findings on one backbone.

    Attributes:
        name, family: the fields of the entry.
        taps: paths of the taps that the checks ran on.
        channels: channels of these taps.
        layouts: letters of the axes of these taps' activations.
        way: how what lies behind the taps runs from cached activations, in the library's words.
        findings: by check.
        warnings: what the library warned of, each once.
        seconds: time of all checks.
    """

    name: str
    family: str
    taps: list[str] = field(default_factory=list)
    channels: list[int] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)
    way: str = "–"
    findings: dict[str, Finding] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Case:
    """One backbone under examination: the bare network's outputs, and the wrapped model that the checks share."""

    def __init__(self, entry: Entry) -> None:
        # frozen: for some layers torch chooses its way of adding by whether a weight wants a gradient
        self.entry, self.network = entry, entry.network().requires_grad_(False)
        self.batch = entry.batch(3)
        self.samples = [entry.sample(self.batch, number) for number in range(3)]
        self.bare, self.bare_samples = self.outputs(self.network), self.one_by_one(self.network)
        if not all(torch.isfinite(leaf).all() and leaf.abs().max() > 0 for leaf in self.bare):
            raise ValueError(f"{entry.name}: the bare network gives zeros or values that are not finite")
        self.weights = self.checksum()
        self.model: ResonantModel | None = None
        self.by_auto = False
        self.options: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.way = "–"

    def wrap(self, layers: Any, T: int = 3, **options: Any) -> ResonantModel:
        """A wrap of the network with small couplings."""
        torch.manual_seed(1)
        example = self.entry.batch(2)
        return wrap_with_resonance(self.network, layers, T=T, rank=4, example_input=example, **options)

    def unread(self, parameter: str) -> bool:
        """Whether the library warned that this parameter has no effect: a head that reads the class token alone."""
        return parameter.endswith("phi.kernel") and any("and no other" in text for text in self.warnings)

    @torch.no_grad()
    def outputs(self, model: nn.Module) -> list[Tensor]:
        """The model's output tensors on the batch of three."""
        return [leaf.clone() for leaf in leaves(called(model, self.batch))]

    @torch.no_grad()
    def one_by_one(self, model: nn.Module) -> list[Tensor]:
        """The model's output tensors on the three samples alone, put together."""
        singles = [[leaf.clone() for leaf in leaves(called(model, sample))] for sample in self.samples]
        return [torch.cat(parts, self.entry.axis) for parts in zip(*singles, strict=True)]

    def checksum(self) -> int:
        """A number for all weights and buffers of the network."""
        total = 0
        for tensor in self.network.state_dict().values():
            total = zlib.crc32(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy(), total)
        return total

    def paths(self) -> list[str]:
        """The module paths of the wrap by paths."""
        return list(self.entry.layers) or stages(self.network)[-3:]

    def wrapped(self) -> ResonantModel:
        """The wrap that the checks share."""
        assert self.model is not None
        return self.model


def difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference, relative to the largest value of its tensor."""
    pairs = zip(found, wanted, strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)) for a, b in pairs)


def parameters(model: ResonantModel) -> dict[str, nn.Parameter]:
    """The trainable parameters by name that hold any numbers."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad and p.numel()}


@torch.no_grad()
def randomise(model: ResonantModel) -> None:
    """Couplings as after training: no parameter is where it started."""
    torch.manual_seed(2)
    for parameter in parameters(model).values():
        parameter.add_(torch.randn_like(parameter), alpha=COUPLING_STD)


def loss_of(outputs: list[Tensor]) -> Tensor:
    """A loss with a gradient in every output, also in those of a layer norm, whose mean square is constant."""
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(leaf.shape, generator=generator) for leaf in outputs]
    return sum((leaf * w).mean() for leaf, w in zip(outputs, weights, strict=True))  # type: ignore[return-value]


def statistics(case: Case, model: ResonantModel) -> None:
    """Fit the statistics on a batch as a loader gives it, of more samples, so that no channel is nearly still."""
    batch = case.entry.batch(8)
    model.fit_statistics([batch if isinstance(batch, dict) else (batch,)])


# ---- the checks -----------------------------------------------------------------------------------------------------


def auto(case: Case) -> str:
    """`layers="auto"` finds taps."""
    case.model, case.by_auto = _running(case, case.wrap("auto")), True
    return ", ".join(case.model.paths)


def by_paths(case: Case) -> str:
    """Named module paths can be coupled."""
    paths = case.paths()
    if len(paths) < 2:
        raise Wrong("the registry names no paths, and stages() finds none")
    model = _running(case, case.wrap(paths, **case.entry.options))
    _identical(case, model)
    if case.model is None:
        case.model, case.options = model, dict(case.entry.options)
    return ", ".join(paths)


def _running(case: Case, model: ResonantModel) -> ResonantModel:
    try:
        case.outputs(model)
    except ResonanceError as error:
        raise Wrong(f"wrapped, and then refused at the first pass: {error}") from None
    return model


def identical(case: Case) -> str:
    """Until it is trained, the model's output is the backbone's, bit for bit."""
    _identical(case, case.wrapped())
    return ""


def _identical(case: Case, model: ResonantModel) -> None:
    for found, wanted in ((case.outputs(model), case.bare), (case.one_by_one(model), case.bare_samples)):
        if len(found) != len(wanted) or not all(map(torch.equal, found, wanted)):
            raise Wrong(f"differs by {difference(found, wanted):.1e}")


def layout(case: Case) -> str:
    """The couplings have as many channels as the taps' activations."""
    model, axes = case.wrapped(), case.entry.layout
    shapes: dict[str, tuple[int, ...]] = {}

    def noting(path: str) -> Any:
        return lambda module, args, output: shapes.__setitem__(path, tuple(leaves(output)[0].shape))

    with hooked(case.network, {path: noting(path) for path in model.paths}):
        case.outputs(case.network)
    found = [tap.channels for tap in model.adapter.taps]
    wanted = list(case.entry.channels)
    if not (wanted and case.by_auto):
        letters = {len(shape): axes if len(axes) == len(shape) else LAYOUTS[len(shape)] for shape in shapes.values()}
        wanted = [shapes[path][letters[len(shapes[path])].index("C")] for path in model.paths]
    if found != wanted:
        raise Wrong(f"channels {found}, but the activations {[shapes[path] for path in model.paths]} have {wanted}")
    return str(found)


def training(case: Case) -> str:
    """A few steps move every parameter of the adapter and no weight of the backbone."""
    model = case.wrapped()
    statistics(case, model)
    before = {name: p.detach().clone() for name, p in parameters(model).items()}
    optimizer = torch.optim.Adam(parameters(model).values(), lr=1e-2, eps=1e-20)  # however small the gradient
    model.train()
    for _ in range(4):  # U = 0 at first: gradients reach the inner couplings later
        optimizer.zero_grad()
        loss_of(leaves(called(model, case.batch))).backward()
        optimizer.step()
    model.eval()
    still = [name for name, p in parameters(model).items() if torch.equal(p, before[name]) and not case.unread(name)]
    broken = [name for name, p in parameters(model).items() if not torch.isfinite(p).all()]
    if broken:
        raise Wrong(f"not finite after training: {', '.join(broken)}")
    if still:
        raise Wrong(f"not trained: {', '.join(still)}")
    if case.checksum() != case.weights:
        raise Wrong("the backbone's weights changed")
    return f"{len(before)} tensors"


def coupled(case: Case) -> str:
    """Couplings that stand for trained ones change the output, and no sample falls back."""
    model = case.wrapped()
    randomise(model)
    change = difference(case.outputs(model), case.bare)
    if model.fallback is not None and bool(model.fallback.any()):
        raise Wrong(f"{int(model.fallback.sum())} of {len(model.fallback)} samples fell back")
    if change < 1e-5:
        raise Wrong(f"the output changes by {change:.1e} of its size only")
    return f"{change:.2g}"


def readers(case: Case) -> str:
    """Whatever lies behind the last tap and reads a tap reads its refined activation, or a warning names that tap."""
    model, taps = case.wrapped(), case.wrapped().adapter.taps
    with torch.no_grad(), capture(case.network, model.paths, copy=[True] * len(taps)) as activations:
        called(case.network, case.batch)
    outputs = [canonical(activations[tap.path], tap.layout) for tap in taps]
    with torch.no_grad():
        refined, _ = model.refine(called(model.read, case.batch)._replace(outputs=outputs), taps=range(len(taps)))
    hooks = {path: _giving(x) for path, x in zip(model.paths, refined, strict=True)}
    with hooked(case.network, hooks):
        wanted = case.outputs(case.network)
    if (apart := difference(case.outputs(model), wanted)) <= TOLERANCE:
        return f"{apart:.0e}"
    plain = {path: _giving(x) for path, x in activations.items()}
    read = []
    for path in model.paths[:-1]:
        with hooked(case.network, plain | {path: hooks[path]}):
            if difference(case.outputs(case.network), case.bare) > TOLERANCE:
                read.append(path)
    unnamed = [path for path in read if not any(path in text for text in case.warnings)]
    if unnamed or not read:
        raise Wrong(
            f"differs by {apart:.1e}; unserved readers of {', '.join(unnamed) or 'the last tap'}, and no warning"
        )
    return f"not served, as the warning says: {', '.join(read)}"


def _giving(x: Tensor) -> Any:
    """A hook that puts `x` in the place of a layer's activation: the output itself, or its first item."""

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        return x.clone() if isinstance(output, Tensor) else type(output)((x.clone(), *output[1:]))

    return hook


def saved(case: Case) -> str:
    """A saved adapter, loaded onto the same backbone, gives the same output."""
    model = case.wrapped()
    wanted = case.outputs(model)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        loaded = load_resonance(case.network, folder)
    found = case.outputs(loaded)
    if not all(map(torch.equal, found, wanted)):
        raise Wrong(f"differs by {difference(found, wanted):.1e}")
    return ""


def samples(case: Case) -> str:
    """No sample has an influence on another one."""
    model = case.wrapped()
    mixed, bare = (
        difference(together, alone)
        for together, alone in (
            (case.outputs(model), case.one_by_one(model)),
            (case.bare, case.bare_samples),
        )
    )
    if mixed > max(TOLERANCE, 50 * bare):
        raise Wrong(f"a batch and its samples alone differ by {mixed:.1e}, on the bare backbone by {bare:.1e}")
    return f"{mixed:.0e}, bare {bare:.0e}"


def cache(case: Case) -> str:
    """From cached activations, the tail of the network gives the output of a whole pass."""
    model = case.wrapped()
    wanted = case.outputs(model)
    with torch.no_grad():
        refined, _ = model.refine(called(model.read, case.batch))
        tail = model.tail(case.entry.batch(2))
        found = leaves(model.run_tail(refined, tail, called(tail.outside, case.batch)))
    case.way = str(tail.way)
    if (apart := difference(found, wanted)) > TOLERANCE:
        raise Wrong(f"differs by {apart:.1e}")
    return f"{apart:.0e}"


def single(case: Case) -> str:
    """Built with T=1, no parameter is dead."""
    model = case.wrap(list(case.wrapped().paths), T=1, **case.options)
    statistics(case, model)
    randomise(model)
    loss_of(leaves(called(model.train(), case.batch))).backward()
    dead = [n for n, p in parameters(model).items() if (p.grad is None or not p.grad.any()) and not case.unread(n)]
    model.eval()
    if dead:
        raise Wrong(f"no gradient: {', '.join(dead)}")
    return ""


def heads_on_taps(case: Case) -> str:
    """A head that reads the taps' means, and one of every position, agrees with cached taps and on samples alone."""
    found = []
    for readout in ("mean", "map"):
        own = {name: value for name, value in case.options.items() if name != "classifier"}
        model = case.wrap(list(case.wrapped().paths), mode="direct", readout=readout, **own | {"num_classes": 2})
        statistics(case, model)
        randomise(model)
        wanted = case.outputs(model)
        with torch.no_grad():
            anchors, tail = called(model.read, case.batch), model.tail(case.batch)
            cached = leaves(model.run_tail(model.refine(anchors)[0], tail, anchors.outside))
            together = leaves(model.run_adapters(case.batch)["default"])
        # a head's outputs count samples along the first axis, whatever the network's do
        alone = [torch.cat([leaves(called(model, sample))[0].detach() for sample in case.samples])]
        apart = max(difference(other, wanted) for other in (cached, together, alone))
        if apart > TOLERANCE:
            raise Wrong(f"readout={readout!r} differs by {apart:.1e}")
        found.append(f"{readout} {tuple(wanted[0].shape)}")
    return ", ".join(found)


CHECKS: dict[str, Callable[[Case], str]] = {
    "auto": auto,
    "paths": by_paths,
    "identical": identical,
    "layout": layout,
    "training": training,
    "coupled": coupled,
    "readers": readers,
    "samples": samples,
    "saved": saved,
    "cache": cache,
    "T=1": single,
    "taps": heads_on_taps,
}
"""The checks by name, in the order in which they run: later ones use the state that earlier ones leave."""


def examine(entry: Entry) -> Row:
    """All findings on one backbone.

    >>> examine(chosen(["mlp"])[0]).findings["identical"].verdict
    'pass'
    """
    start = time.perf_counter()
    row = Row(entry.name, entry.family)
    case = Case(entry)
    for name, check in CHECKS.items():
        if case.model is None and name not in ("auto", "paths"):
            row.findings[name] = Finding(NOT_RUN)
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            row.findings[name] = judged(check, case)
        for warning in caught:
            if issubclass(warning.category, ResonanceWarning) and str(warning.message) not in case.warnings:
                case.warnings.append(str(warning.message))
    if case.model is not None:
        taps = case.model.adapter.taps
        row.taps, row.channels = [tap.path for tap in taps], [tap.channels for tap in taps]
        row.layouts, row.way = [tap.layout for tap in taps], case.way
    row.warnings, row.seconds = case.warnings, time.perf_counter() - start
    del case
    gc.collect()
    return row


def judged(check: Callable[[Case], str], case: Case) -> Finding:
    """The finding of one check on a case."""
    try:
        return Finding(PASS, check(case))
    except ResonanceError as error:
        text = str(error)
        return Finding(REFUSED, text) if "\n" not in text else Finding(FAIL, f"refused in several lines: {text}")
    except Wrong as error:
        return Finding(FAIL, str(error))
    except Exception as error:  # a foreign error is a finding, too
        return Finding(FAIL, f"{type(error).__name__}: {error}".splitlines()[0])


def unexpected(entry: Entry, row: Row) -> dict[str, Finding]:
    """The findings that are not what the registry expects: a failure, a refusal more, or a refusal less.

    Where neither wrap is expected to work, no other check runs.
    """
    odd, wraps = {}, not {"auto", "paths"} <= entry.refused.keys()
    for name, finding in row.findings.items():
        pattern = entry.refused.get(name)
        if not wraps and finding.verdict == NOT_RUN:
            continue
        wanted = PASS if pattern is None else REFUSED
        if finding.verdict != wanted or not re.search(pattern or "", finding.why):
            odd[name] = finding
    return odd


def as_json(row: Row) -> dict[str, Any]:
    """The row in plain values."""
    return dataclasses.asdict(row)


def from_json(found: dict[str, Any]) -> Row:
    """The row that `as_json` gave."""
    findings = {name: Finding(**finding) for name, finding in found["findings"].items()}
    return Row(**found | {"findings": findings})
