"""The grid: pooling anchors onto it and bringing the answer back.

Shape suffixes: B batch, P positions of the grid, C channels.
"""

import torch.nn.functional as F
from torch import Tensor

from dynaxx.errors import ResonanceError
from dynaxx.resonance.bottleneck import Grid


def grid_of(last: Tensor, fixed: tuple[int, int] | None) -> Grid:
    """The positions on which messages live: (h, w) of the last tap or the one given, (N,) for tokens."""
    if last.ndim == 3:
        return (last.shape[1],)
    return fixed or (last.shape[2], last.shape[3])


def to_grid(x: Tensor, grid: Grid) -> Tensor:
    """P x: average-pool a map (B, C, H, W) onto the grid, as positions (B, P, C); tokens pass as they are.

    Raises:
        ResonanceError: a token tap whose length differs from the grid's.
    """
    if x.ndim == 3:
        if x.shape[1] != grid[0]:
            raise ResonanceError(f"layers: taps of {x.shape[1]} and {grid[0]} tokens cannot be coupled")
        return x
    if tuple(x.shape[2:]) != tuple(grid):
        x = F.adaptive_avg_pool2d(x, (grid[0], grid[1]))
    return x.flatten(2).transpose(1, 2)


def from_grid(delta_BPC: Tensor, grid: Grid, like: Tensor) -> Tensor:
    """Up: positions back to the shape of the tap `like`, nearest neighbour where it is finer than the grid.

    What has that shape already is returned as it is.
    """
    if like.ndim == 3 or delta_BPC.ndim == 4:
        return delta_BPC
    delta = delta_BPC.transpose(1, 2).unflatten(2, grid)
    return delta if tuple(like.shape[2:]) == tuple(grid) else F.interpolate(delta, size=like.shape[2:], mode="nearest")
