"""What the engine needs to know of a batch."""

from typing import NamedTuple

import torch
from torch import Tensor

from dynaxx.backbone.tokens import running_mean
from dynaxx.resonance.bottleneck import Grid
from dynaxx.resonance.grid import grid_of, to_grid


class Anchors(NamedTuple):
    """What the taps of one batch hold, as the engine needs it; everything before the last tap ends here.

    Attributes:
        pooled: P x_l⁰ of each tap in depth order, (B, P, C_l).
        seen: x_l⁰ as the backbone gave it, of each tap that something behind the last one reads.
        grid: (h, w) or (tokens,).
        states: x_l⁰ of all taps, where the segments between them are run again.
        outside: what those segments read that no tap changes.
    """

    pooled: list[Tensor]
    seen: list[Tensor]
    grid: Grid
    states: list[Tensor] | None = None
    outside: tuple[object, ...] = ()

    def finite(self) -> Tensor:
        """(B,) bool: the samples whose anchors are finite at every tap."""
        return finite(self.pooled)

    def of(self, keep_B: Tensor) -> "Anchors":
        """The samples that are kept, alone; what lies outside the taps is cut where it has a sample axis."""
        batch = len(keep_B)
        outside = tuple(x[keep_B] if isinstance(x, Tensor) and x.shape[:1] == (batch,) else x for x in self.outside)
        states = None if self.states is None else [x[keep_B] for x in self.states]
        return Anchors([x[keep_B] for x in self.pooled], [x[keep_B] for x in self.seen], self.grid, states, outside)

    def zeroed_but(self, keep_B: Tensor) -> "Anchors":
        """The same with zeros in the samples that are not kept."""
        states = None if self.states is None else [only(x, keep_B) for x in self.states]
        return self._replace(pooled=[only(x, keep_B) for x in self.pooled], states=states)


def finite(parts: list[Tensor]) -> Tensor:
    """(B,) bool: the samples that are finite in every one of `parts`, (B, P, C) each.

    By their sums, which are not finite if anything summed is not (or if they overflow, and then nothing that is
    computed of them would be): one pass over memory where asking every number takes several.
    """
    sums = [x.sum((1, 2), dtype=torch.promote_types(x.dtype, torch.float32)) for x in parts]
    return torch.isfinite(torch.stack(sums)).all(0)


def only(x: Tensor, keep_B: Tensor) -> Tensor:
    """`x` (B, …) with zeros in the samples that are not kept."""
    return torch.where(keep_B.view(-1, *[1] * (x.ndim - 1)), x, 0.0)


def on_grid(x: Tensor, grid: Grid, token_pool: bool, causal: bool) -> Tensor:
    """P x of one tap, (B, P, C).

    Args:
        token_pool: put tokens' mean in their place: (B, 1, C), or running means (B, N, C) where `causal`.
    """
    if not token_pool:
        return to_grid(x, grid)
    return running_mean(x) if causal else x.mean(1, keepdim=True)


def message_grid(last: Tensor, fixed: tuple[int, int] | None, token_pool: bool, causal: bool) -> Grid:
    """The positions on which messages live, given the last tap's activation; see `ResonanceConfig.grid`."""
    return (1,) if token_pool and not causal else grid_of(last, fixed)
