"""What the engine needs to know of a batch."""

from typing import NamedTuple

from torch import Tensor

from dynaxx.resonance.bottleneck import Grid
from dynaxx.resonance.grid import grid_of, to_grid
from dynaxx.resonance.tokens import running_mean


class Anchors(NamedTuple):
    """What the taps of one batch hold, as the engine needs it; everything before the last tap ends here.

    Attributes:
        pooled: P x_l⁰ of each tap in depth order, (B, P, C_l).
        last: x_L⁰ as the backbone gave it.
        grid: (h, w) or (tokens,).
    """

    pooled: list[Tensor]
    last: Tensor
    grid: Grid


def pooled_anchors(activations: list[Tensor], fixed: tuple[int, int] | None, token_pool: bool, causal: bool) -> Anchors:
    """The taps' activations on the grid.

    Args:
        activations: x_l⁰ in depth order.
        fixed: the grid of maps; None is the last tap's own.
        token_pool: put tokens' means in their place: (B, 1, C), or running means (B, N, C) where `causal`.
    """
    grid = grid_of(activations[-1], fixed)
    pooled = [to_grid(x, grid) for x in activations]
    if token_pool:
        pooled = [running_mean(x) if causal else x.mean(1, keepdim=True) for x in pooled]
        grid = (pooled[-1].shape[1],)
    return Anchors(pooled, activations[-1], grid)
