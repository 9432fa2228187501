"""The choice of how a backbone pass runs: with hooks, with replaced modules, as a split graph, or in two passes.

Hooks suffice if no layer after the last tap (tapped layer) reads an earlier tap and no segment runs again. Otherwise
the graph is split; if it cannot be traced, the backbone runs up to the last tap, and then from the taps on. Compilers
and exporters ignore hooks, so they always run a network of plain modules.
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.form import Form
from dynaxx.backbone.graph import Split
from dynaxx.backbone.layout import canonical, different, original
from dynaxx.backbone.replace import HookFreeBackbone, ReadingBackbone
from dynaxx.backbone.replay import TwoPasses, copied, same
from dynaxx.backbone.taps import activation_of, capture, hooked, module_at, with_activation
from dynaxx.errors import ResonanceError, ResonanceWarning
from dynaxx.grid import Tap
from dynaxx.resonance import Segment

Couple = Callable[[list[Tensor], Sequence[Any]], list[Tensor]]
"""Function from the activations of all taps, and other activations, to the new activations of the output taps."""

Members = tuple[str, nn.Module, dict[str, nn.Module | None]]
"""Path of a module, the module and its children by name."""

Attribute = tuple[nn.Module, str, Any]
"""A plain attribute of a module, or one of its tensors: module, name and value."""


@dataclass(frozen=True)
class Execution:
    """The ways in which one backbone can run for the taps of one adapter.

    Attributes:
        network: plain modules that take the backbone's arguments and couple the taps.
        hooks: whether an eager pass can use hooks on the backbone itself.
        members: the modules that `network` does not share with the backbone, and their children.
        attributes: plain attributes and tensors of these modules.
        form: the form of the calls that `network` takes; None takes all.
        segments: the backbone's parts between the taps, for the reentrant dynamics; otherwise empty.
    """

    network: nn.Module
    hooks: bool
    members: Sequence[Members]
    form: Form | None = None
    segments: Sequence[Segment | None] = ()
    attributes: Sequence[Attribute] = ()

    @property
    def runs_twice(self) -> bool:
        """Whether the backbone's own code runs in two passes, of which there is no graph."""
        return isinstance(self.network, TwoPasses)

    def follows_backbone(self) -> bool:
        """Whether the backbone still has the modules and attributes from which `network` was made."""
        for _, module, children in self.members:
            if len(module._modules) != len(children):
                return False
            if not all(module._modules.get(name) is child for name, child in children.items()):
                return False
        return all(_is_still(getattr(module, name, None), value) for module, name, value in self.attributes)

    def fits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether `network` takes these arguments."""
        return self.form is None or self.form.fits(args, kwargs)

    def silent_hooks(self) -> list[str]:
        """Paths of the backbone's modules whose own hooks `network` does not call, though there are some."""
        if self.hooks or self.form is None:
            return []
        return [path for path, module, _ in self.members if module._forward_hooks or module._forward_pre_hooks]


def _is_still(found: Any, value: Any) -> bool:
    return found is value or (not isinstance(value, Tensor) and bool(found == value))


class _Couple(nn.Module):
    def __init__(self, couple: Couple) -> None:
        super().__init__()
        self.couple = couple

    def forward(self, activations: list[Tensor], outside: Sequence[Any]) -> list[Tensor]:
        return self.couple(activations, outside)


def plan_execution(
    backbone: nn.Module,
    taps: Sequence[Tap],
    couple: Couple,
    *,
    again: bool,
    replacements: dict[str, nn.Module],
    call: Call | None = None,
    form: Form | None = None,
    own_code: bool = False,
) -> Execution:
    """The `Execution` that runs `backbone` with its tapped layers `taps` coupled.

    >>> taps = [Tap("layer2", 128, "BCHW"), Tap("layer3", 256, "BCHW", output=True)]
    >>> unchanged = lambda activations, outside: activations[-1:]
    >>> plan_execution(network, taps, unchanged, again=False, replacements={}).hooks
    True

    Args:
        backbone: the network.
        taps: the taps in depth order, with the output taps marked.
        couple: function from the taps' activations to the new activations of the output taps.
        again: whether the segments between the taps are run again.
        replacements: new modules by the path of the module that each replaces.
        call: arguments of a pass, on which a graph is tried out, and whose shapes decide the backbone's branches.
        form: without `call`, the form of a call for which the graph gave the backbone's output.
        own_code: whether the backbone's own code is to be run where hooks do not suffice, which takes calls of all
            forms, and not a graph.

    Raises:
        ResonanceError: a backbone that has to be split and cannot be, at least not without `call`.
    """
    paths = [*(tap.path for tap in taps), *replacements]
    members, attributes = _members(backbone, paths), _attributes(backbone, paths)
    if not again and not any(tap.output for tap in taps[:-1]):
        network = HookFreeBackbone(backbone, taps, lambda x: couple(x, ())[0], replacements)
        return Execution(network, True, members, attributes=attributes)
    if call is None and form is None:
        raise ResonanceError("example_input: a call is needed to see how this backbone runs")
    try:
        if own_code and not again:
            raise ResonanceError("backbone: it is called in several forms")
        split = Split(backbone, taps, call, None if call is not None else form)
        if again or split.outputs() == _outputs(taps):
            if call is not None and not reproduces(split, backbone, call):
                raise ResonanceError("backbone: the graph that torch.fx traced of it does not give its output")
            segments = [_in_layout(part, taps, number) for number, part in enumerate(split.segments())] if again else ()
            graph = split.whole(_Couple(couple), replacements)
            return Execution(graph, False, members, split.form, segments, attributes)
    except ResonanceError:
        if again or call is None:
            raise
    assert call is not None
    return Execution(TwoPasses(backbone, taps, call, replacements, couple), False, members, attributes=attributes)


def plan_reading(backbone: nn.Module, taps: Sequence[Tap], read: Callable[[list[Tensor], Any], Tensor]) -> Execution:
    """The `Execution` of a pass that ends at the last tap, with what `read` makes of the taps' activations.

    >>> plan_reading(network, [Tap("layer2", 128, "BCHW")], lambda activations, arguments: activations[0]).hooks
    True
    """
    paths = [tap.path for tap in taps]
    network = ReadingBackbone(backbone, taps, read)
    return Execution(network, True, _members(backbone, paths), attributes=_attributes(backbone, paths))


def _outputs(taps: Sequence[Tap]) -> list[int]:
    return [number for number, tap in enumerate(taps) if tap.output]


def _members(backbone: nn.Module, paths: Sequence[str]) -> list[Members]:
    """Every module that holds one of `paths`, with its children."""
    return [(path, module, dict(module._modules)) for path, module in _parents(backbone, paths)]


def _attributes(backbone: nn.Module, paths: Sequence[str]) -> list[Attribute]:
    """Every plain attribute and tensor of every module that holds one of `paths`; copies and graphs hold its value."""
    return [
        (module, name, value)
        for _, module in _parents(backbone, paths)
        for name, value in (vars(module) | module._parameters | module._buffers).items()
        if isinstance(value, (bool, int, float, str, Tensor))
    ]


def _parents(backbone: nn.Module, paths: Sequence[str]) -> list[tuple[str, nn.Module]]:
    parents = {""} | {path[:n] for path in paths for n in range(len(path)) if path[n] == "."}
    return [(path, module_at(backbone, path)) for path in sorted(parents)]


def _in_layout(segment: fx.GraphModule | None, taps: Sequence[Tap], number: int) -> Segment | None:
    """The segment of tap `number` as a function of canonical activations."""
    if segment is None:
        return None

    def run(states: Sequence[Tensor], outside: Sequence[object]) -> Tensor:
        own = [original(x, tap.layout) for x, tap in zip(states, taps, strict=True)]
        return canonical(segment(own, outside), taps[number].layout)

    return run


def mark_outputs(backbone: nn.Module, taps: Sequence[Tap], call: Call, again: bool) -> list[Tap]:
    """The taps with those marked that the network after the last tap reads.

    >>> taps = [Tap("layer2", 128, "BCHW"), Tap("layer3", 256, "BCHW")]
    >>> [tap.output for tap in mark_outputs(network, taps, ((images,), {}), again=False)]
    [False, True]

    A warning names taps that are read, but cannot be served: neither can torch.fx trace the backbone, nor does what
    lies behind the last tap read taps alone.

    Raises:
        ResonanceError: a backbone whose segments are to run again, and cannot be split; a last tap that returns a tuple
            whose first item nobody reads.
    """
    last = len(taps) - 1
    if taps[last].nested and not _read_past(backbone, taps[last].path, None, call):
        raise ResonanceError(
            f"layers: nothing reads the first item of the tuple that {taps[last].path!r} returns; name another layer"
        )

    def marked(outputs: Sequence[int]) -> list[Tap]:
        return [dataclasses.replace(tap, output=number in outputs) for number, tap in enumerate(taps)]

    try:
        split = Split(backbone, taps, call)
        outputs = split.outputs()
        if (again or outputs != [last]) and not reproduces(split, backbone, call):
            raise ResonanceError("backbone: the graph that torch.fx traced of it does not give its output")
        if unserved := split.unserved():
            _warn(
                f"also reads what layers before it compute of {_named(taps, unserved)}, as the backbone gives it", taps
            )
        return marked(outputs)
    except ResonanceError as error:
        if again:
            raise ResonanceError(f"{error}; give dynamics='anchored', which runs nothing again") from None
        missed = [n for n, tap in enumerate(taps[:-1]) if _read_past(backbone, tap.path, taps[-1].path, call)]
        served = _served(backbone, marked([*missed, last]), missed, call)
        if len(served) < len(missed):
            line = f"also reads {_named(taps, [n for n in missed if n not in served])}, and goes on reading what the"
            _warn(f"{line} backbone gives there: {error}", taps)
        return marked([*served, last])


def _named(taps: Sequence[Tap], numbers: Sequence[int]) -> str:
    return ", ".join(taps[number].path for number in numbers)


def _warn(line: str, taps: Sequence[Tap]) -> None:
    warnings.warn(f"what lies behind {taps[-1].path!r} {line}", ResonanceWarning, stacklevel=3)


@torch.no_grad()
def reproduces(split: Split, backbone: nn.Module, call: Call) -> bool:
    """Whether the traced graph gives the backbone's output when the taps' activations stay unchanged."""
    if torch.compiler.is_compiling():  # there are no values to compare
        return True
    whole = split.whole(_Couple(_unchanged(split.outputs())), {})
    return _gives(whole, backbone, call)


@torch.no_grad()
def _served(backbone: nn.Module, taps: Sequence[Tap], missed: Sequence[int], call: Call) -> list[int]:
    """Numbers of the taps in `missed` that a second pass reads refined, if it gives the backbone's output."""
    outputs = _outputs(taps)
    if not missed or not _gives(TwoPasses(backbone, taps, call, {}, _unchanged(outputs)), backbone, call):
        return []

    def other(number: int) -> Couple:
        return lambda activations, outside: [
            different(activations[n]) if n == number else activations[n] for n in outputs
        ]

    return [n for n in missed if not _gives(TwoPasses(backbone, taps, call, {}, other(n)), backbone, call)]


def _unchanged(outputs: Sequence[int]) -> Couple:
    return lambda activations, outside: [activations[number] for number in outputs]


def _gives(network: nn.Module, backbone: nn.Module, call: Call) -> bool:
    """Whether `network` gives the backbone's output for a call; either may overwrite its input."""
    (args, kwargs), (own_args, own_kwargs) = copied(call), copied(call)
    try:
        found = network.forward(*args, **kwargs)  # a graph that is called prints its own tracebacks
    except Exception:  # a graph of another branch raises anything
        return False
    return same(found, backbone(*own_args, **own_kwargs))


@torch.no_grad()
def _read_past(backbone: nn.Module, tap: str, last: str | None, call: Call) -> bool:
    """Whether the output depends on `tap` while the activation at `last`, if it is given, is held constant."""
    args, kwargs = call
    with capture(backbone, [last or tap], copy=[True]) as captured:
        plain = backbone(*args, **kwargs)

    def change(module: nn.Module, args: Any, output: Any) -> Any:
        return with_activation(output, different(activation_of(tap, output)))  # a norm would remove a shift

    def hold(module: nn.Module, args: Any, output: Any) -> Any:
        return with_activation(output, captured[last or tap].clone())

    with hooked(backbone, {last or tap: hold} | {tap: change}):
        return not same(backbone(*args, **kwargs), plain)


@torch.no_grad()
def warn_of_unread_tokens(backbone: nn.Module, last: Tap, call: Call) -> None:
    """Warn if the network after the last tap reads only leading tokens, such as a class token.

    >>> last = Tap("blocks.11", 192, "BNC", overwritten=False, prefix=1)
    >>> warn_of_unread_tokens(timm.create_model("vit_tiny_patch16_224"), last, ((images,), {}))  # doctest: +SKIP

    Position-wise messages to the remaining tokens would not affect the output.
    """
    args, kwargs = call
    front = max(last.prefix, 1)

    def output_with(changed: slice) -> Any:
        def change(activations: list[Tensor]) -> Tensor:
            x_BNC = canonical(activations[0], last.layout)  # a view of a copy
            x_BNC[:, changed] = x_BNC[:, changed].flip(-1)  # a layer norm would remove a shift
            return activations[0]

        with capture(backbone, [last.path], change, [True]):
            return backbone(*args, **kwargs)

    with capture(backbone, [last.path]) as captured:
        plain = backbone(*args, **kwargs)
    if canonical(captured[last.path], last.layout).shape[1] <= front:
        return
    if same(output_with(slice(front, None)), plain) and not same(output_with(slice(0, front)), plain):
        tokens = "first token" if front == 1 else f"first {front} tokens"
        warnings.warn(
            f"what lies behind {last.path!r} reads the {tokens} and no other, so messages to the others are lost: give "
            "token_pool=True, or tap an earlier layer last",
            ResonanceWarning,
            stacklevel=2,
        )
