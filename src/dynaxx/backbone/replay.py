"""What lies behind the taps, run by the backbone's own code with the modules before the taps left out.

Works where no graph can be traced. The backbone is called as a twin whose modules before the last tap return tensors of
the right shape without computing them, and whose taps return the refined activations. What lies behind reads these
alone; a check with NaN in the place of all others proves it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._compile import _disable_dynamo
from torch.utils._pytree import tree_leaves, tree_map

from dynaxx.backbone.example import Call
from dynaxx.backbone.replace import constants, replace_modules
from dynaxx.backbone.taps import activation_of, capture, hooked, with_activation
from dynaxx.errors import ResonanceError
from dynaxx.resonance import Tap


@dataclass(frozen=True)
class _Shape:
    """The shape of a tensor as a function of the batch size: in each axis `fixed + per_sample · batch`."""

    fixed: tuple[int, ...]
    per_sample: tuple[int, ...]
    like: Tensor

    def filled(self, batch: int, value: float | None) -> Tensor:
        """A tensor of this shape, full of `value` where its type allows; of undefined values with None."""
        size = [fixed + batch * each for fixed, each in zip(self.fixed, self.per_sample, strict=True)]
        if value is None or not self.like.is_floating_point():
            return self.like.new_zeros(size) if not self.like.is_floating_point() else self.like.new_empty(size)
        return self.like.new_full(size, value)

    def batch_of(self, x: Tensor) -> int:
        """The batch size with which `x` has this shape."""
        axis = next(n for n, each in enumerate(self.per_sample) if each)
        return (x.shape[axis] - self.fixed[axis]) // self.per_sample[axis]


@dataclass
class _Pass:
    """The state of one run: calls so far of each module that is left out, the batch, and the refined activations."""

    batch: int
    value: float | None
    refined: dict[str, Tensor]
    calls: dict[str, int] = field(default_factory=dict)


_PASS: ContextVar[_Pass] = ContextVar("dynaxx_replay")


class _LeftOut(nn.Module):
    """A module that returns tensors of the right shape in its calls before the last tap, and runs in later ones."""

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
        ResonanceError: the part after the taps reads other activations, too.
    """

    def __init__(
        self, backbone: nn.Module, taps: Sequence[Tap], call: Call, replacements: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.outputs = [tap.path for tap in taps if tap.output]
        paths, larger = [tap.path for tap in taps], _larger(call)
        record, expected = _record(backbone, paths, call)
        batches = _batch(call), _batch(larger)
        self.shapes = tree_map(partial(_shape, batches), record, _record(backbone, paths, larger)[0])
        self.input = tree_map(partial(_shape, batches), call, larger)
        left_out = {path: partial(_LeftOut, path, shapes) for path, shapes in self.shapes.items() if shapes}
        # in a tuple, so that the backbone's own modules are not registered here
        self.network = (replace_modules(backbone, left_out),)
        activations = [activation_of(path, record[path][0]) for path in self.outputs]
        why = "also reads other activations"
        try:
            with torch.no_grad():
                sound = same(self._run(activations, float("nan")), expected)
        except Exception as error:  # the network's own code, with parts left out, raises anything
            sound, why = False, f"does not run without what lies before ({type(error).__name__})"
        if not sound:
            raise ResonanceError(f"layers: what lies behind {taps[-1].path!r} {why}, so it has no tail of its own")
        self.network = (replace_modules(backbone, left_out | constants(replacements or {})),)

    def forward(self, refined: Sequence[Tensor], call: Call | None = None) -> Any:
        """The backbone's output for these activations of the output taps, and for `call` where they come from it."""
        return self._run(refined, None, call)

    def _run(self, refined: Sequence[Tensor], value: float | None, call: Call | None = None) -> Any:
        shape = next(leaf for leaf in tree_leaves(self.shapes[self.outputs[0]][0]) if isinstance(leaf, _Shape))
        batch = shape.batch_of(refined[0])
        args, kwargs = call or _filled(self.input, batch, value)
        token = _PASS.set(_Pass(batch, value, dict(zip(self.outputs, refined, strict=True))))
        try:
            return self.network[0](*args, **kwargs)
        finally:
            _PASS.reset(token)


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

        copy = [tap.overwritten for tap in self.taps]
        try:
            with capture(self.backbone[0], [tap.path for tap in self.taps], stop, copy):
                self.backbone[0](*args, **kwargs)
        except _Reached:
            pass
        return self.behind(self.couple(activations, ()), (args, kwargs))


def _record(backbone: nn.Module, taps: Sequence[str], call: Call) -> tuple[dict[str, list[Any]], Any]:
    """What each module outside of the taps returns in each call before the last tap ends, and the network's output."""
    entered = {""} | {path[:n] for path in taps for n in range(len(path)) if path[n] == "."}
    parents = {path: backbone.get_submodule(path) for path in entered}
    children = {f"{path}.{name}".lstrip(".") for path, parent in parents.items() for name, _ in parent.named_children()}
    found: dict[str, list[Any]] = {path: [] for path in sorted(children - entered)}
    done: list[str] = []

    def hook(path: str) -> Any:
        def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not done:
                found[path].append(tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, output))
            if path == taps[-1]:
                done.append(path)

        return record

    with torch.no_grad(), hooked(backbone, {path: hook(path) for path in found}):
        output = backbone(*call[0], **call[1])
    return found, output


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
    pairs = zip(_tensors(one), _tensors(other), strict=True)
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) for a, b in pairs)


def _tensors(output: Any) -> list[Tensor]:
    """The floating-point tensors in a model output of any type."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
