"""What lies behind the taps, run by the backbone's own code with the layers before the taps left out.

Works where no graph can be traced. The backbone is called as a twin. Its layers before the last tap return tensors of
the right shape without computing them, and its taps return the refined activations. Layers without parameters run. The
few layers whose values are read behind the taps are found by putting NaN in the place of each; theirs are recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from dynaxx.backbone.example import Call
from dynaxx.backbone.replace import constants, replace_modules
from dynaxx.backbone.taps import Hook, activation_of, capture, hooked, with_activation
from dynaxx.errors import ResonanceError
from dynaxx.grid import Tap

Outputs = dict[str, list[Any]]
"""By path of a layer, what it returns in each call before the last tap ends."""

INPUT = ""
"""Key of the arguments of the pass among the `Outputs`."""

FILLED = (float("nan"), 1e4, -1e4)
"""Values that stand in for those of a layer, to see whether they are read; NaN alone would pass by a comparison."""


@dataclass(frozen=True)
class _Shape:
    """The shape of a tensor as a function of the batch size: in each axis `fixed + per_sample · batch`."""

    fixed: tuple[int, ...]
    per_sample: tuple[int, ...]
    like: Tensor

    def filled(self, batch: int, value: float | None) -> Tensor:
        """A tensor of this shape, full of `value`; with None of undefined values. Whole numbers are 0."""
        size = [fixed + batch * each for fixed, each in zip(self.fixed, self.per_sample, strict=True)]
        if not self.like.is_floating_point():
            return self.like.new_zeros(size)
        return self.like.new_empty(size) if value is None else self.like.new_full(size, value)

    @property
    def by_sample(self) -> bool:
        """Whether the tensor has one entry of numbers for each sample along its first axis."""
        return (*self.fixed[:1], *self.per_sample[:1]) == (0, 1) and self.like.is_floating_point()

    def batch_of(self, x: Tensor) -> int:
        """The batch size with which `x` has this shape."""
        axis = next(n for n, each in enumerate(self.per_sample) if each)
        return (x.shape[axis] - self.fixed[axis]) // self.per_sample[axis]


@dataclass
class _Pass:
    """The state of one run: what taps and other layers return, and the calls so far of each layer left out.

    Attributes:
        refined: activations of the output taps.
        given: outputs of layers, as they are.
        shapes: shapes of the outputs of other layers, which are filled with `value` for `batch` samples.
    """

    refined: dict[str, Tensor]
    given: Outputs
    shapes: Outputs = field(default_factory=dict)
    batch: int = 0
    value: float | None = None
    calls: dict[str, int] = field(default_factory=dict)


_PASS: ContextVar[_Pass] = ContextVar("dynaxx_replay")


class _LeftOut(nn.Module):
    """A layer that computes nothing in its calls before the last tap, and runs in later ones."""

    def __init__(self, path: str, module: nn.Module) -> None:
        super().__init__()
        self.path, self.module = path, module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # networks read attributes of their layers, such as a stride
            return getattr(super().__getattr__("module"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        run = _PASS.get(None)
        if run is None:
            raise ResonanceError(
                f"base_model: {self.path!r} runs again in the backward pass, by activation checkpointing; turn it off"
            )
        number, exact = run.calls.get(self.path, 0), self.path in run.given
        run.calls[self.path] = number + 1
        known = run.given[self.path] if exact else run.shapes[self.path]
        if number >= len(known):
            return self.module(*args, **kwargs)
        output = known[number] if exact else _filled(known[number], run.batch, run.value)
        return with_activation(output, run.refined[self.path]) if self.path in run.refined else output


class Replay(nn.Module):
    """The part of the network after the taps, as a function of the output taps' activations in depth order.

    Args:
        backbone: the network, in eval mode.
        taps: the taps, in the order in which a pass reaches them, with the output taps marked.
        call: arguments of a pass; two passes of different batch size are run.
        replacements: new modules by the path of the module that each replaces.

    Raises:
        ResonanceError: the part after the taps does not give the backbone's output, or reads what has no sample axis.
    """

    def __init__(
        self, backbone: nn.Module, taps: Sequence[Tap], call: Call, replacements: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.paths = [tap.path for tap in taps]
        self.taps = [tap.path for tap in taps if tap.output]
        # in a tuple, so that the backbone's own modules are not registered here
        self.backbone = (backbone,)
        self.read: list[str] = []
        record, expected = self._record(call)
        self.shapes = self._shapes(taps, call, record)
        left_out = _left_out(self.shapes)
        self.network = (replace_modules(backbone, left_out),)
        activations = [activation_of(path, record[path][0]) for path in self.taps]

        def sound(given: Sequence[str]) -> bool:
            """Whether the output is right if `given` are as recorded, and all others hold other values."""
            outputs = {path: record[path] for path in given}
            try:
                with torch.no_grad():
                    return all(same(self._run(activations, outputs, value), expected) for value in FILLED)
            except Exception:  # the network's own code, with parts left out, raises anything
                return False

        if not sound([]):
            others = [path for path, shapes in self.shapes.items() if shapes and path not in self.taps]
            self.read = [path for path in others if not sound([other for other in others if other != path])]
            if not sound(self.read):
                raise ResonanceError(
                    f"layers: what lies behind {self.paths[-1]!r} does not run without what lies before"
                )
        leaves, self.spec = tree_flatten([record[path] for path in self.read])
        self.places = [isinstance(leaf, Tensor) for leaf in leaves]
        self.rest = [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
        for path in self.read:
            if not all(leaf.by_sample for leaf in tree_leaves(self.shapes[path]) if isinstance(leaf, _Shape)):
                raise ResonanceError(
                    f"layers: what lies behind {self.paths[-1]!r} also reads {path or 'the input'!r}, whose first axis "
                    "does not hold samples"
                )
        self.network = (replace_modules(backbone, left_out | constants(replacements or {})),)

    def _shapes(self, taps: Sequence[Tap], call: Call, record: Outputs) -> Outputs:
        """The recorded outputs with shapes in the place of tensors, from a pass with one sample more."""
        for axis in (0, 1):  # the input's axis of samples
            try:
                larger = _larger(call, axis)
                batches = _batch(call, axis), _batch(larger, axis)
                shapes: Outputs = tree_map(partial(_shape, batches), record, self._record(larger)[0])
            except Exception as error:  # networks raise anything at a batch that they are not made for
                why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                continue
            if all(_fits(shapes[tap.path][0], tap.layout) for tap in taps):
                return shapes
            why = "its samples lie along no axis of its input"
        raise ResonanceError(f"example: the network does not run with one sample more ({why})")

    def forward(self, refined: Sequence[Tensor], outside: Sequence[object] = ()) -> Any:
        """The backbone's output for these activations of the output taps.

        Args:
            refined: activations of the output taps.
            outside: what `outside` returned for the same samples.
        """
        tensors, rest = iter(outside), iter(self.rest)
        leaves = [next(tensors) if tensor else next(rest) for tensor in self.places]
        given = dict(zip(self.read, tree_unflatten(leaves, self.spec), strict=True))
        return self._run(refined, given, None)

    @torch.no_grad()
    def outside(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """What lies behind the taps reads besides their activations, in a pass with these arguments: (B, …) each."""
        hooks, collect = self.listening((args, kwargs))
        if hooks:
            with hooked(self.backbone[0], hooks):
                self.backbone[0](*args, **kwargs)
        return collect()

    def listening(self, call: Call) -> tuple[dict[str, Hook], Callable[[], tuple[Tensor, ...]]]:
        """Hooks for a pass with the arguments `call`, up to the last tap at least, and a function that then gives what
        `outside` gives. No hooks are needed where nothing but the input is read.
        """
        found, hooks = _recording(self.backbone[0], self.paths, call)
        wanted = [path for path in self.read if path != INPUT]
        needed = {path: hook for path, hook in hooks.items() if path in (*wanted, self.paths[-1])} if wanted else {}

        def collect() -> tuple[Tensor, ...]:
            leaves = tree_leaves([found[path] for path in self.read])
            return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

        return needed, collect

    def _run(self, refined: Sequence[Tensor], given: Outputs, value: float | None) -> Any:
        shape = next(leaf for leaf in tree_leaves(self.shapes[self.taps[0]][0]) if isinstance(leaf, _Shape))
        batch = shape.batch_of(refined[0])
        args, kwargs = given[INPUT][0] if INPUT in given else _filled(self.shapes[INPUT][0], batch, value)
        run = _Pass(dict(zip(self.taps, refined, strict=True)), given, self.shapes, batch, value)
        return _run(self.network[0], (args, kwargs), run)

    def _record(self, call: Call) -> tuple[Outputs, Any]:
        """What each layer returns before the last tap ends, and the network's output."""
        found, hooks = _recording(self.backbone[0], self.paths, call)
        with torch.no_grad(), hooked(self.backbone[0], hooks):
            output = self.backbone[0](*call[0], **call[1])
        return found, output


def _recording(backbone: nn.Module, paths: Sequence[str], call: Call) -> tuple[Outputs, dict[str, Hook]]:
    """An empty record of a pass with the arguments `call`, and the hooks that fill it until the last of `paths`."""
    entered = {""} | {path[:n] for path in paths for n in range(len(path)) if path[n] == "."}
    parents = {path: backbone.get_submodule(path) for path in entered}
    inner = {f"{path}.{name}".lstrip("."): m for path, parent in parents.items() for name, m in parent.named_children()}
    kept = [p for p, m in inner.items() if p in paths or next(m.parameters(), None) is not None]
    found: Outputs = {INPUT: [copied(call)]} | {path: [] for path in sorted(set(kept) - entered)}
    done: list[str] = []

    def hook(path: str) -> Hook:
        def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not done:
                found[path].append(copied(output))
            if path == paths[-1]:
                done.append(path)

        return record

    return found, {path: hook(path) for path in found if path}


def _left_out(record: Outputs) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """Replacements of the layers that run before the last tap; others, such as lists of layers, stay as they are."""
    return {path: partial(_LeftOut, path) for path, outputs in record.items() if path and outputs}


def _run(network: nn.Module, call: Call, run: _Pass) -> Any:
    token = _PASS.set(run)
    try:
        return network(*call[0], **call[1])
    finally:
        _PASS.reset(token)


class _Reached(Exception):
    """The last tap was reached, and the rest of the pass is not needed."""


class TwoPasses(nn.Module):
    """The backbone with its taps coupled, where several taps are read behind the last and no graph can be traced.

    The first pass ends at the last tap. The second runs what lies behind it, on the refined activations; the layers
    that ran in the first pass return in it what they returned then. So it is exact for every call.

    Args:
        backbone, taps, call, replacements: arguments of `Replay`.
        couple: function from the activations of all taps to the new activations of the output taps.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[Tap],
        call: Call,
        replacements: Mapping[str, nn.Module],
        couple: Callable[[list[Tensor], Sequence[Any]], list[Tensor]],
    ) -> None:
        super().__init__()
        # in a tuple, so that the backbone's own modules are not registered here
        self.backbone, self.taps, self.couple = (backbone,), taps, couple
        with torch.no_grad():
            record, _ = self._first(call)
        self.left_out = _left_out(record)
        self.network = (replace_modules(backbone, self.left_out | constants(replacements)),)

    @_disable_dynamo  # torch.compiler.disable, which loads the compiler when it is named
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        call = copied((args, kwargs))
        record, activations = self._first((args, kwargs))
        outputs = [tap.path for tap in self.taps if tap.output]
        refined = dict(zip(outputs, self.couple(activations, ()), strict=True))
        given = {path: record.get(path, []) for path in self.left_out}
        return _run(self.network[0], call, _Pass(refined, given))

    def _first(self, call: Call) -> tuple[Outputs, list[Tensor]]:
        """What each layer returns before the last tap ends, and the activations of the taps."""
        activations: list[Tensor] = []

        def stop(reached: list[Tensor]) -> Tensor:
            activations.extend(reached)
            raise _Reached

        paths, copy = [tap.path for tap in self.taps], [tap.overwritten for tap in self.taps]
        record, hooks = _recording(self.backbone[0], paths, call)
        try:
            with hooked(self.backbone[0], hooks), capture(self.backbone[0], paths, stop, copy):
                self.backbone[0](*call[0], **call[1])
        except _Reached:
            pass
        return record, activations


def copied(tree: Any) -> Any:
    """The same values, with copies of all tensors."""
    return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, tree)


def _batch(call: Call, axis: int) -> int:
    first: Tensor = next(leaf for leaf in tree_leaves(call) if isinstance(leaf, Tensor) and leaf.ndim > axis)
    return first.shape[axis]


def _larger(call: Call, axis: int) -> Call:
    """The call with its first sample once more."""
    batch = _batch(call, axis)

    def larger(x: Any) -> Any:
        cut = isinstance(x, Tensor) and x.ndim > axis and x.shape[axis] == batch
        return torch.cat([x, x.narrow(axis, 0, 1)], dim=axis) if cut else x

    return tree_map(larger, call)


def _fits(output: Any, layout: str) -> bool:
    """Whether the first tensor of a layer's output grows along the samples' axis of this layout alone."""
    shape = next(leaf for leaf in tree_leaves(output) if isinstance(leaf, _Shape))
    return shape.per_sample == tuple(int(axis == "B") for axis in layout)


def _shape(batches: tuple[int, int], one: Any, other: Any) -> Any:
    """The `_Shape` of two tensors that differ in batch size; anything else stays as it is."""
    if not isinstance(one, Tensor):
        return one
    each = tuple((b - a) // (batches[1] - batches[0]) for a, b in zip(one.shape, other.shape, strict=True))
    fixed = tuple(size - batches[0] * n for size, n in zip(one.shape, each, strict=True))
    return _Shape(fixed, each, one.new_empty(0))


def _filled(tree: Any, batch: int, value: float | None) -> Any:
    """`tree` with a tensor in the place of each `_Shape`."""
    return tree_map(lambda x: x.filled(batch, value) if isinstance(x, _Shape) else x, tree)


def same(one: Any, other: Any) -> bool:
    """Whether two model outputs hold equal tensors, up to rounding.

    >>> same({"out": torch.ones(2)}, {"out": torch.ones(2)})
    True
    """
    ones, others = _tensors(one), _tensors(other)
    return len(ones) == len(others) and all(_close(a, b) for a, b in zip(ones, others, strict=True))


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    largest = float(b.nan_to_num(posinf=0.0, neginf=0.0).abs().max()) if b.numel() else 0.0
    return torch.allclose(a, b, rtol=1e-4, atol=1e-5 * largest, equal_nan=True)


def _tensors(output: Any) -> list[Tensor]:
    """The floating-point tensors in a model output of any type."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
