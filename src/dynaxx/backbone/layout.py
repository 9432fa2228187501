"""The layout of a tapped layer's activation: which of its axes holds samples, which channels, which positions.

Resonance computes on maps (B, C, H, W) or (B, C, D, H, W) and on tokens (B, N, C). Networks also return maps with
channels last, sequences with the sample axis second, 1-D maps (B, C, N) and plain features (B, C). `canonical` and
`original` convert between the two. The sample axis is found by changing one sample of a batch, the channel axis by
watching which axis norms, linear layers and convolutions read.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from dynaxx.backbone.example import Call
from dynaxx.config import MAPS, TOKENS
from dynaxx.errors import ResonanceError

LAYOUTS = {n: tuple(layout for layout in TOKENS + MAPS if len(layout) == n) for n in (2, 3, 4, 5)}
"""Layouts by number of axes."""

_SPATIAL = {2: "", 3: "N", 4: "HW", 5: "DHW"}

_LAST = ("linear", "layer_norm", "rms_norm", "lstm", "gru", "rnn_tanh", "rnn_relu", "embedding", "addmm")
"""torch functions that read and write channels in the last axis."""

_FIRST = ("conv", "batch_norm", "group_norm", "instance_norm", "max_pool", "avg_pool", "interpolate", "pixel_shuffle")
"""Parts of the names of torch functions that read and write channels in the axis behind the samples."""

_MOVING = ("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis")

_MIXING = ("einsum", "tensordot", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "baddbmm", "t", "__get__")
"""torch functions behind which the channel axis is unknown; the last are properties such as `Tensor.mT`."""

NOTICEABLE = 0.02
"""A change below this share of the largest change counts as none; batches change a quantised network that much."""


def canonical(x: Tensor, layout: str) -> Tensor:
    """`x` as a map (B, C, H, W) or (B, C, D, H, W), or as tokens (B, N, C); a view where torch allows it.

    >>> canonical(torch.zeros(2, 7, 7, 96), "BHWC").shape
    torch.Size([2, 96, 7, 7])
    """
    match layout:
        case "BC":
            return x.unsqueeze(1)
        case "NBC":
            return x.transpose(0, 1)
        case "BCN":
            return x.unsqueeze(2)
        case "BHWC" | "BDHWC":
            return x.movedim(-1, 1)
    return x


def original(x: Tensor, layout: str) -> Tensor:
    """The inverse of `canonical`.

    >>> original(torch.zeros(2, 96, 7, 7), "BHWC").shape
    torch.Size([2, 7, 7, 96])
    """
    match layout:
        case "BC":
            return x.squeeze(1)
        case "NBC":
            return x.transpose(0, 1)
        case "BCN":
            return x.squeeze(2)
        case "BHWC" | "BDHWC":
            return x.movedim(1, -1)
    return x


def layout_of(path: str, x: Tensor, samples: int, channels: int | None, given: str | None) -> str:
    """The layout of the activation `x` of the layer at `path`.

    >>> layout_of("norm", torch.zeros(2, 7, 7, 96), samples=0, channels=3, given=None)
    'BHWC'

    Args:
        path: module path, for messages.
        x: the activation.
        samples: the axis of samples.
        channels: the axis of channels, or None if nothing shows it.
        given: the user's choice; None decides by the two axes.

    Raises:
        ResonanceError: an activation of too few or too many axes, or axes that do not make a known layout.
    """
    known, shape = LAYOUTS.get(x.ndim, ()), tuple(x.shape)
    if not known:
        raise ResonanceError(f"layers: {path!r} returns {shape}, not a (B, C, H, W) or (B, N, C) tensor; name another")
    if given is not None:
        if given not in known:
            raise ResonanceError(f"layout={given!r}: {path!r} returns {shape}; give one of {', '.join(known)}")
        return given
    if x.ndim == 2:
        channels = 1 - samples
    if channels is None or channels == samples:
        raise ResonanceError(
            f"layers: {path!r} returns {shape}, and nothing shows which axis holds channels; "
            f"give layout= one of {', '.join(known)}"
        )
    positions = iter(_SPATIAL[x.ndim])
    found = "".join("B" if n == samples else "C" if n == channels else next(positions) for n in range(x.ndim))
    if found not in known:
        raise ResonanceError(
            f"layers: {path!r} returns {shape} with the axes {found}; known are {', '.join(known)}; name another layer"
        )
    return found


class ChannelAxes(TorchFunctionMode):
    """Within the block, notes the channel axis of every tensor that torch functions return or read.

    >>> with ChannelAxes() as axes:
    ...     y = nn.functional.linear(torch.zeros(2, 5, 3), torch.zeros(4, 3)).transpose(1, 2)
    >>> axes.of(y)
    1
    """

    def __init__(self) -> None:
        super().__init__()
        self._known = WeakIdKeyDictionary()

    def of(self, x: Tensor) -> int | None:
        """The channel axis of `x`, or None if it is unknown."""
        axis: int | None = self._known.get(x)
        return axis

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        first = next((leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)), None)
        if first is not None and first.ndim > 1 and first not in self._known:
            reads = first.ndim - 1 if name in _LAST else 1 if any(part in name for part in _FIRST) else None
            if reads is not None:
                self._known[first] = reads  # nothing showed it when it was made; its reader does
        for result in tree_leaves(output):
            if isinstance(result, Tensor) and result.ndim > 1:
                axis = self._axis(name, first, result, args, kwargs or {})
                if axis is not None:
                    self._known[result] = axis
                elif result in self._known:  # an in-place operation of tensors that disagree
                    del self._known[result]
        return output

    def _axis(self, name: str, first: Tensor | None, result: Tensor, args: Any, kwargs: Any) -> int | None:
        if name in _LAST:
            return result.ndim - 1
        if any(part in name for part in _FIRST):
            return 1 if first is None or first.ndim == result.ndim else None
        if name in _MOVING:
            return self._moved(name, first, args, kwargs)
        if name in _MIXING:
            return None
        inherited = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf in self._known]
        joins = name in ("cat", "concat", "concatenate")
        kept = {_kept(source, self._known[source], result, joins) for source in inherited} - {None}
        return kept.pop() if len(kept) == 1 else None  # where they disagree, the next reader shows it

    def _moved(self, name: str, first: Tensor | None, args: Any, kwargs: Any) -> int | None:
        """The channel axis behind a permutation, found by permuting a tensor whose strides number the axes."""
        axis = None if first is None else self._known.get(first)
        if axis is None or first is None:
            return None
        numbered = torch.empty_strided(first.shape, [n + 1 for n in range(first.ndim)], device="meta")
        moved = getattr(numbered, name)(*args[1:], **{key: value for key, value in kwargs.items() if key != "input"})
        return list(moved.stride()).index(axis + 1)


def _kept(source: Tensor, axis: int, result: Tensor, joins: bool) -> int | None:
    """The axis of `result` that holds what `axis` of `source` held: at its place, or moved by a reshape before it."""
    size, before = source.shape[axis], source.shape[:axis].numel()
    if result.ndim == source.ndim and (joins or result.shape[axis] == size):
        return axis
    if result.numel() == source.numel():
        for n in range(result.ndim):
            if result.shape[n] == size and result.shape[:n].numel() == before:
                return n
    return None


# ---- samples ------------------------------------------------------------------------------------------------------


def batches_of_two(args: Sequence[Any], kwargs: dict[str, Any], axis: int, number: int = 0) -> list[Call] | None:
    """A call of at least two samples along `axis`, and the same call with other values in its first sample.

    The values are those of one tensor; `number` counts through the tensors that can be changed.

    >>> one, other = batches_of_two([torch.zeros(1, 4)], {}, axis=0)
    >>> (one[0][0] != other[0][0]).sum(1)
    tensor([4, 0])

    None if no (further) tensor of the call can be changed along `axis`. The second axis holds samples in sequences
    alone.
    """
    named = kwargs.get("input_ids")
    leaves = [leaf for leaf in tree_leaves((named, args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim > axis]
    leaves = [leaf for leaf in leaves if not leaf.is_complex() and leaf.dtype != torch.bool]
    if axis == 1:
        leaves = [leaf for leaf in leaves if leaf.ndim in (2, 3)]
    leaves = list({id(leaf): leaf for leaf in leaves}.values())
    if number >= len(leaves) or leaves[number].is_meta:
        return None
    changed, size = leaves[number], leaves[number].shape[axis]

    def batch(x: Any) -> Any:
        cut = isinstance(x, Tensor) and x.ndim > axis and x.shape[axis] == size
        return torch.cat([x, x], dim=axis) if cut and size == 1 else x

    def other(x: Any) -> Any:
        if x is not changed:
            return batch(x)
        first, rest = batch(x).tensor_split([1], dim=axis)
        return torch.cat([different(first), rest], dim=axis)

    call = tuple(args), dict(kwargs)
    return [tree_map(batch, call), tree_map(other, call)]


def different(x: Tensor) -> Tensor:
    """Values in the range of `x` that differ from it everywhere.

    >>> different(torch.tensor([0, 1, 2]))
    tensor([1, 0, 0])
    """
    if not x.is_floating_point():
        return torch.where(x == 0, 1, 0).to(x.dtype)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    spread = torch.nan_to_num(x.float()).std() if x.numel() > 1 else torch.zeros(())
    return x + noise * (spread.to(x) if spread > 0 else 1.0)


def changed_axis(one: Tensor, other: Tensor) -> int | None:
    """The first axis along which two tensors differ in the first entry alone; None if there is none.

    >>> changed_axis(torch.zeros(3, 2), torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]).flip(1))
    1

    Two equal tensors do not tell; they count as differing along the first axis.
    """
    if one.shape != other.shape:
        return None
    change = _change(one, other)
    if not change.numel() or not change.any():
        return 0
    for axis in range(one.ndim):
        noticed = change.movedim(axis, 0).flatten(1).amax(1) > NOTICEABLE * change.max()
        if len(noticed) > 1 and bool(noticed[0]) and not bool(noticed[1:].any()):
            return axis
    return None


def moved(one: Tensor, other: Tensor) -> bool:
    """Whether two activations differ at all."""
    return one.shape != other.shape or bool(_change(one, other).any())


def _change(one: Tensor, other: Tensor) -> Tensor:
    return torch.nan_to_num(one.float() - other.float(), posinf=0.0, neginf=0.0).abs()


def crossing(one: Any, other: Any) -> bool:
    """Whether two outputs of a network differ in more than one entry of every axis of one of their tensors."""
    pairs = zip(tree_leaves(one), tree_leaves(other), strict=False)
    tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor) and a.is_floating_point()]
    return any(a.ndim > 0 and changed_axis(a, b) is None for a, b in tensors)
