"""Taps, their anchors, and the grid on which messages live.

Shape suffixes: B batch, P positions of the grid, C channels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.config import TOKENS
from dynaxx.errors import ResonanceError
from dynaxx.resonance.bottleneck import Grid


@dataclass(frozen=True)
class Tap:
    """One tap, as a first forward pass finds it.

    Attributes:
        path: module path.
        channels: C_l.
        layout: axes of the activation in the network; see `config.MAPS`.
        overwritten: whether a later in-place operation changes the activation, so that it must be copied.
        nested: whether the layer returns a tuple, whose first item is the activation.
        causal: whether a token depends only on itself and the tokens before it.
        prefix: number of leading tokens without a position.
        output: whether the rest of the network reads it; the last tap is always read.
    """

    path: str
    channels: int
    layout: str
    overwritten: bool = False
    nested: bool = False
    causal: bool = False
    prefix: int = 0
    output: bool = False

    @property
    def dims(self) -> int:
        """Spatial axes of a map; 0 for tokens."""
        return 0 if self.layout in TOKENS else max(len(self.layout) - 2, 2)


class Anchors(NamedTuple):
    """The taps' activations of one batch; everything before the last tap ends here.

    Attributes:
        pooled: P x_l⁰ of each tap in depth order, (B, P, C_l).
        outputs: x_l⁰ of each output tap, as the backbone computed it.
        grid: (h, w) or (tokens,).
        states: x_l⁰ of all taps, for the reentrant dynamics.
        outside: other activations that the backbone's segments read, for the reentrant dynamics.
    """

    pooled: list[Tensor]
    outputs: list[Tensor]
    grid: Grid
    states: list[Tensor] | None = None
    outside: tuple[object, ...] = ()

    def select(self, keep_B: Tensor) -> "Anchors":
        """The chosen samples alone; outside activations are cut where they have a sample axis."""
        batch = len(keep_B)
        outside = tuple(x[keep_B] if isinstance(x, Tensor) and x.shape[:1] == (batch,) else x for x in self.outside)
        states = None if self.states is None else [x[keep_B] for x in self.states]
        return Anchors([x[keep_B] for x in self.pooled], [x[keep_B] for x in self.outputs], self.grid, states, outside)

    def zero_except(self, keep_B: Tensor) -> "Anchors":
        """The same anchors with zeros in the other samples."""
        states = None if self.states is None else [only(x, keep_B) for x in self.states]
        return self._replace(pooled=[only(x, keep_B) for x in self.pooled], states=states)


def finite(parts: list[Tensor]) -> Tensor:
    """(B,) bool: the samples that are finite in every one of `parts`, (B, P, C) each."""
    # a sum is finite only if all its terms are; one that overflows counts as not finite. It takes one pass over memory
    sums = [x.sum((1, 2), dtype=torch.promote_types(x.dtype, torch.float32)) for x in parts]
    return torch.isfinite(torch.stack(sums)).all(0)


def only(x: Tensor, keep_B: Tensor) -> Tensor:
    """`x` (B, …) with zeros in the samples that are not kept."""
    return torch.where(keep_B.view(-1, *[1] * (x.ndim - 1)), x, 0.0)


def message_grid(last: Tensor, fixed: tuple[int, int] | None, token_pool: bool, causal: bool) -> Grid:
    """The positions of messages, from the last tap's activation; see `ResonanceConfig.grid`."""
    return (1,) if token_pool and not causal else grid_of(last, fixed)


def grid_of(last: Tensor, fixed: tuple[int, int] | None) -> Grid:
    """(h, w) or (d, h, w) of the last tap, or `fixed`; (N,) for tokens."""
    return (last.shape[1],) if last.ndim == 3 else fixed or tuple(last.shape[2:])


def on_grid(x: Tensor, grid: Grid, token_pool: bool, causal: bool) -> Tensor:
    """P x of one tap, (B, P, C); `token_pool` puts tokens' mean in their place, or running means where `causal`."""
    if not token_pool:
        return to_grid(x, grid)
    return running_mean(x) if causal else x.mean(1, keepdim=True)


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
        if x.shape[1] != grid[0]:
            raise ResonanceError(f"layers: taps of {x.shape[1]} and of {grid[0]} tokens; give token_pool=True")
        return x
    if tuple(x.shape[2:]) != tuple(grid):
        pool = F.adaptive_avg_pool2d if x.ndim == 4 else F.adaptive_avg_pool3d
        x = pool(x, grid)  # type: ignore[arg-type]  # the grid has as many sides as the map
    return x.flatten(2).transpose(1, 2)


def from_grid(delta_BPC: Tensor, grid: Grid, like: Tensor) -> Tensor:
    """Up: positions in the shape of the tap `like`, by nearest neighbour; a delta of that shape stays unchanged."""
    if like.ndim == 3 or delta_BPC.ndim > 3:
        return delta_BPC
    delta = delta_BPC.transpose(1, 2).unflatten(2, grid)
    return delta if tuple(like.shape[2:]) == tuple(grid) else F.interpolate(delta, size=like.shape[2:], mode="nearest")
