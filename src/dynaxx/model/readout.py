"""What a head reads of the taps on the grid, where it does not stand in the classifier's place.

    mean      f = [ mean_P x_1, …, mean_P x_K ]                          (B, ΣC)
    moments   f = [ mean_P x_1, …, mean_P x_K, dev x_1⁰, …, dev x_K⁰ ]   (B, 2 ΣC)
    map       f = [ x_1, …, x_K ] in every position                      (B, P, ΣC)

`x_l` is the agreed activation of tap l on the grid, `dev x_l⁰` the standard deviation of its anchor over the positions
that the layer itself has. The last readings of all taps side by side are the input of one linear head.

Shape suffixes: B batch, P positions of the grid, C channels, K outputs.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dynaxx.grid import Grid

EPSILON = 1e-12
"""Added to a variance before its root, whose gradient at 0 is infinite."""


def width(readout: str, channels: Sequence[int]) -> int:
    """Number of features that a readout has of taps with these channels.

    >>> width("moments", [24, 80])
    208
    """
    return sum(channels) * (2 if readout == "moments" else 1)


def deviation(x: Tensor) -> Tensor:
    """Standard deviation over positions of a canonical activation (B, C, …) or (B, N, C): (B, C).

    >>> deviation(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[1.]])
    """
    return (x.flatten(2) if x.ndim > 3 else x.mT).var(2, correction=0).add(EPSILON).sqrt()


def features(readout: str, agreed_BPC: Sequence[Tensor], deviation_BC: Sequence[Tensor]) -> Tensor:
    """The head's input: (B, F), or (B, P, F) for `map`.

    >>> features("mean", [torch.zeros(2, 49, 24), torch.zeros(2, 49, 80)], ()).shape
    torch.Size([2, 104])
    """
    if readout == "map":
        most = max(x_BPC.shape[1] for x_BPC in agreed_BPC)  # a tap without positions has one
        return torch.cat([x_BPC.expand(-1, most, -1) for x_BPC in agreed_BPC], dim=2)
    means = [x_BPC.mean(1) for x_BPC in agreed_BPC]
    return torch.cat([*means, *deviation_BC] if readout == "moments" else means, dim=1)


def as_map(output_BPK: Tensor, grid: Grid, size: Sequence[int] | None) -> Tensor:
    """Outputs of every position as a map (B, K, …), enlarged to `size` by linear interpolation where it is given.

    >>> as_map(torch.zeros(2, 49, 1), (7, 7), (224, 224)).shape
    torch.Size([2, 1, 224, 224])
    """
    maps = output_BPK.transpose(1, 2).unflatten(2, grid)
    if size is None or len(size) != len(grid) or tuple(size) == tuple(grid):
        return maps
    return F.interpolate(maps, size=tuple(size), mode={1: "linear", 2: "bilinear", 3: "trilinear"}[len(grid)])


def size_of(args: Any, dims: int) -> tuple[int, ...] | None:
    """Spatial size of the first input (B, C, …) with `dims` spatial axes; None where no input has them.

    >>> size_of((torch.zeros(2, 3, 224, 160),), dims=2)
    (224, 160)
    """
    inputs = [x for x in tree_leaves(args) if isinstance(x, Tensor) and x.ndim == dims + 2]
    return tuple(inputs[0].shape[2:]) if inputs and dims else None


class Readout(nn.Module):
    """The tail of a model whose head reads the taps: agreed activations of all taps, and deviations, to outputs."""

    def __init__(self, read_out: Callable[..., Tensor], grid: Grid, size: Sequence[int] | None) -> None:
        super().__init__()
        self.read_out, self.grid, self.size = read_out, grid, size

    def forward(self, agreed_BPC: Sequence[Tensor], outside: Sequence[Tensor]) -> Tensor:
        return self.read_out(agreed_BPC, outside, self.grid, self.size)
