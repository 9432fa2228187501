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
from dynaxx.resonance import Tap

Outputs = dict[str, list[Any]]
"""By path of a layer, what it returns in each call before the last tap ends."""

INPUT = ""
"""Key of the arguments of the pass among the `Outputs`."""


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
    """The state of one run: the batch, what taps and other layers return, and calls so far of each layer left out."""

    batch: int
    value: float | None
    refined: dict[str, Tensor]
    given: Outputs
    calls: dict[str, int] = field(default_factory=dict)


_PASS: ContextVar[_Pass] = ContextVar("dynaxx_replay")


class _LeftOut(nn.Module):
    """A layer that computes nothing in its calls before the last tap, and runs in later ones."""

    def __init__(self, path: str, outputs: Sequence[Any], module: nn.Module) -> None:
        super().__init__()
        self.path, self.module, self.outputs = path, module, outputs

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # networks read attributes of their layers, such as a stride
            return getattr(super().__getattr__("module"), name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        run = _PASS.get()
        number = run.calls.get(self.path, 0)
        run.calls[self.path] = number + 1
        if number >= len(self.outputs):
            return self.module(*args, **kwargs)
        if self.path in run.given:
            return run.given[self.path][number]
        output = _filled(self.outputs[number], run.batch, run.value)
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
        self.paths, larger = [tap.path for tap in taps], _larger(call)
        self.taps = [tap.path for tap in taps if tap.output]
        # in a tuple, so that the backbone's own modules are not registered here
        self.backbone = (backbone,)
        self.read: list[str] = []
        record, expected = self._record(call)
        batches = _batch(call), _batch(larger)
        self.shapes: Outputs = tree_map(partial(_shape, batches), record, self._record(larger)[0])
        left_out = {path: partial(_LeftOut, path, shapes) for path, shapes in self.shapes.items() if path and shapes}
        self.network = (replace_modules(backbone, left_out),)
        activations = [activation_of(path, record[path][0]) for path in self.taps]

        def sound(given: Sequence[str]) -> bool:
            """Whether the output is right if `given` are as recorded, and all others NaN."""
            try:
                with torch.no_grad():
                    return same(self._run(activations, {path: record[path] for path in given}, float("nan")), expected)
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

    def forward(self, refined: Sequence[Tensor], outside: Sequence[object] = (), call: Call | None = None) -> Any:
        """The backbone's output for these activations of the output taps.

        Args:
            refined: activations of the output taps.
            outside: what `outside` returned for the same samples.
            call: arguments of the pass that the activations come from, if there are any.
        """
        tensors, rest = iter(outside), iter(self.rest)
        leaves = [next(tensors) if tensor else next(rest) for tensor in self.places]
        given = dict(zip(self.read, tree_unflatten(leaves, self.spec), strict=True))
        return self._run(refined, given | ({} if call is None else {INPUT: [call]}), None)

    @torch.no_grad()
    def outside(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """What lies behind the taps reads besides their activations, in a pass with these arguments: (B, …) each."""
        return self.of_record(self._record((args, kwargs))[0]) if self.read else ()

    def of_record(self, record: Outputs) -> tuple[Tensor, ...]:
        """The same, from the recorded outputs of a pass."""
        leaves = tree_leaves([record[path] for path in self.read])
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))

    def _run(self, refined: Sequence[Tensor], given: Outputs, value: float | None) -> Any:
        shape = next(leaf for leaf in tree_leaves(self.shapes[self.taps[0]][0]) if isinstance(leaf, _Shape))
        batch = shape.batch_of(refined[0])
        args, kwargs = given[INPUT][0] if INPUT in given else _filled(self.shapes[INPUT][0], batch, value)
        token = _PASS.set(_Pass(batch, value, dict(zip(self.taps, refined, strict=True)), given))
        try:
            return self.network[0](*args, **kwargs)
        finally:
            _PASS.reset(token)

    def _record(self, call: Call) -> tuple[Outputs, Any]:
        """What each layer returns before the last tap ends, and the network's output."""
        found, hooks = self.recording(call)
        with torch.no_grad(), hooked(self.backbone[0], hooks):
            output = self.backbone[0](*call[0], **call[1])
        return found, output

    def recording(self, call: Call) -> tuple[Outputs, dict[str, Hook]]:
        """An empty record of a pass with the arguments `call`, and the hooks that fill it."""
        backbone = self.backbone[0]
        entered = {""} | {path[:n] for path in self.paths for n in range(len(path)) if path[n] == "."}
        parents = {path: backbone.get_submodule(path) for path in entered}
        inner = {
            f"{path}.{name}".lstrip("."): m for path, parent in parents.items() for name, m in parent.named_children()
        }
        kept = [p for p, m in inner.items() if p in self.paths or next(m.parameters(), None) is not None]
        found: Outputs = {INPUT: [_copied(call)]} | {path: [] for path in sorted(set(kept) - entered)}
        done: list[str] = []

        def hook(path: str) -> Hook:
            def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                if not done:
                    found[path].append(_copied(output))
                if path == self.paths[-1]:
                    done.append(path)

            return record

        return found, {path: hook(path) for path in found if path}


class _Reached(Exception):
    """The last tap was reached, and the rest of the pass is not needed."""


class TwoPasses(nn.Module):
    """The backbone with its taps coupled, where several taps are read behind the last and no graph can be traced.

    The first pass ends at the last tap. The second runs what lies behind it, on the refined activations.

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
        self.backbone, self.taps, self.couple = (backbone,), taps, couple
        self.behind = Replay(backbone, taps, call, replacements)

    @_disable_dynamo  # torch.compiler.disable, which loads the compiler when it is named
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        activations: list[Tensor] = []

        def stop(reached: list[Tensor]) -> Tensor:
            activations.extend(reached)
            raise _Reached

        call = _copied((args, kwargs))
        record, hooks = self.behind.recording(call)
        paths, copy = [tap.path for tap in self.taps], [tap.overwritten for tap in self.taps]
        recording = hooked(self.backbone[0], hooks if self.behind.read else {})
        try:
            with recording, capture(self.backbone[0], paths, stop, copy):
                self.backbone[0](*args, **kwargs)
        except _Reached:
            pass
        return self.behind(self.couple(activations, ()), self.behind.of_record(record), call)


def _copied(tree: Any) -> Any:
    return tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, tree)


def _batch(call: Call) -> int:
    first: Tensor = next(leaf for leaf in tree_leaves(call) if isinstance(leaf, Tensor))
    return len(first)


def _larger(call: Call) -> Call:
    """The call with its first sample once more."""
    batch = _batch(call)
    return tree_map(lambda x: torch.cat([x, x[:1]]) if isinstance(x, Tensor) and x.shape[:1] == (batch,) else x, call)


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
