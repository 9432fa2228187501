"""P and Up: activations of taps to positions of the grid, and back.

The grid belongs to the last tap that has positions. A map is average-pooled onto it. Tokens, as many behind the prefix
as the grid has positions, lie on it row by row. All else is one point: a vector, or the mean of other tokens. A point
is the same at all positions, and the mean over positions is written to it, as to prefix tokens beside maps.

Shape suffixes: B batch, P positions of the grid (1 of a point), C channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.errors import ResonanceError
from dynaxx.grid.tap import Tap

Grid = tuple[int, ...]
"""(height, width) or (depth, height, width) of a map, or (tokens,) of a sequence."""


def on_grid(x: Tensor, tap: Tap, grid: Grid, token_pool: bool) -> Tensor:
    """P x of one tap, (B, P, C), or (B, 1, C) of a point.

    >>> on_grid(torch.zeros(2, 8, 4, 4), Tap("layer2", 8, "BCHW"), (2, 2), token_pool=False).shape
    torch.Size([2, 4, 8])

    `token_pool` puts tokens' mean in their place, or running means in causal models.
    """
    if token_pool and tap.causal:
        return running_mean(x)
    if token_pool or tap.point:
        return x.mean(1, keepdim=True) if x.shape[1] > 1 else x
    return to_grid(x[:, tap.prefix :] if x.ndim == 3 and len(grid) > 1 else x, grid)


def running_mean(x_BPC: Tensor) -> Tensor:
    """The mean of each position and all before it, (B, P, C): pooling for causal models."""
    count_P1 = torch.arange(1, x_BPC.shape[1] + 1, device=x_BPC.device, dtype=x_BPC.dtype)[:, None]
    return x_BPC.cumsum(1) / count_P1


def to_grid(x: Tensor, grid: Grid) -> Tensor:
    """P x: a map (B, C, …) average-pooled onto the grid, as positions (B, P, C); tokens are returned unchanged.

    >>> to_grid(torch.zeros(2, 8, 16, 16), (4, 4)).shape
    torch.Size([2, 16, 8])

    Raises:
        ResonanceError: a token tap whose length differs from the grid's.
    """
    if x.ndim == 3:
        if x.shape[1] != math.prod(grid):
            hint = "token_pool=True" if len(grid) == 1 else "an input of the example's size"
            raise ResonanceError(f"layers: taps of {x.shape[1]} and of {math.prod(grid)} tokens; give {hint}")
        return x
    if tuple(x.shape[2:]) != tuple(grid):
        pool = F.adaptive_avg_pool2d if x.ndim == 4 else F.adaptive_avg_pool3d
        x = pool(x, grid)  # type: ignore[arg-type]  # the grid has as many sides as the map
    return x.flatten(2).transpose(1, 2)


def from_grid(delta_BPC: Tensor, grid: Grid, like: Tensor) -> Tensor:
    """Up: positions in the shape of the tap `like`, by nearest neighbour; a delta of that shape stays unchanged.

    >>> from_grid(torch.zeros(2, 4, 8), (2, 2), torch.zeros(2, 8, 4, 4)).shape
    torch.Size([2, 8, 4, 4])

    Prefix tokens beside maps get the mean over positions.
    """
    if like.ndim == 3 and len(grid) > 1 and 1 < delta_BPC.shape[1] < like.shape[1]:
        prefix = like.shape[1] - delta_BPC.shape[1]
        return torch.cat([delta_BPC.mean(1, keepdim=True).expand(-1, prefix, -1), delta_BPC], dim=1)
    if like.ndim == 3 or delta_BPC.ndim > 3:
        return delta_BPC
    delta = delta_BPC.transpose(1, 2).unflatten(2, grid)
    return delta if tuple(like.shape[2:]) == tuple(grid) else F.interpolate(delta, size=like.shape[2:], mode="nearest")
