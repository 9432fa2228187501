"""Taps, their anchors, and the grid on which messages live.

The grid belongs to the last tap that has positions. A map is average-pooled onto it. Tokens, as many behind the prefix
as the grid has positions, lie on it row by row. All else is one point: a vector, or the mean of other tokens. A point
is the same at all positions, and the mean over positions is written to it, as to prefix tokens beside maps.

Shape suffixes: B batch, P positions of the grid (1 of a point), C channels, N tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.config import TOKENS
from dynaxx.errors import ResonanceError
from dynaxx.resonance.bottleneck import Grid


class Source(NamedTuple):
    """A source of a batch on the grid: it is read like a tap, and never written.

    Attributes:
        x_BPC: P x, zero in the samples that lack it; (B, 1, C) where it is one vector.
        present_B: bool, the samples that have it; None if all have.
    """

    x_BPC: Tensor
    present_B: Tensor | None = None


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
        pooled: whether these are tokens beside maps that do not lie on the grid, so that their mean is a point.
    """

    path: str
    channels: int
    layout: str
    overwritten: bool = False
    nested: bool = False
    causal: bool = False
    prefix: int = 0
    output: bool = False
    pooled: bool = False

    @property
    def point(self) -> bool:
        """Whether it has no positions on the grid."""
        return self.pooled or self.layout == "BC"

    @property
    def dims(self) -> int:
        """Spatial axes of a map; 0 for tokens."""
        return 0 if self.layout in TOKENS else max(len(self.layout) - 2, 2)


class Anchors(NamedTuple):
    """The taps' activations of one batch; everything before the last tap ends here.

    Attributes:
        pooled: P x_l⁰ of each tap in depth order, (B, P, C_l), or (B, 1, C_l) of a point.
        outputs: x_l⁰ of each output tap, as the backbone computed it.
        grid: (h, w) or (tokens,).
        states: x_l⁰ of all taps, for the reentrant dynamics.
        outside: other activations that the backbone's segments read, for the reentrant dynamics.
        sources: the model's sources by name, also those that the call lacks.
    """

    pooled: list[Tensor]
    outputs: list[Tensor]
    grid: Grid
    states: list[Tensor] | None = None
    outside: tuple[object, ...] = ()
    sources: Mapping[str, Source] = {}

    @property
    def parts(self) -> list[Tensor]:
        """All that must be finite, (B, …) each."""
        return [*self.pooled, *(source.x_BPC for source in self.sources.values())]

    def select(self, keep_B: Tensor) -> "Anchors":
        """The chosen samples alone; outside activations are cut where they have a sample axis."""
        batch = len(keep_B)
        outside = tuple(x[keep_B] if isinstance(x, Tensor) and x.shape[:1] == (batch,) else x for x in self.outside)
        states = None if self.states is None else [x[keep_B] for x in self.states]
        pooled, outputs = [x[keep_B] for x in self.pooled], [x[keep_B] for x in self.outputs]
        sources = {
            name: Source(x[keep_B], None if present is None else present[keep_B])
            for name, (x, present) in self.sources.items()
        }
        return Anchors(pooled, outputs, self.grid, states, outside, sources)

    def zero_except(self, keep_B: Tensor) -> "Anchors":
        """The same anchors with zeros in the other samples."""
        states = None if self.states is None else [only(x, keep_B) for x in self.states]
        sources = {name: Source(only(x, keep_B), present) for name, (x, present) in self.sources.items()}
        return self._replace(pooled=[only(x, keep_B) for x in self.pooled], states=states, sources=sources)


def finite(parts: list[Tensor]) -> Tensor:
    """(B,) bool: the samples that are finite in every one of `parts`, (B, …) each."""
    # a sum is finite only if all its terms are; one that overflows counts as not finite. It takes one pass over memory
    sums = [x.flatten(1).sum(1, dtype=torch.promote_types(x.dtype, torch.float32)) for x in parts]
    return torch.isfinite(torch.stack(sums)).all(0)


def only(x: Tensor, keep_B: Tensor) -> Tensor:
    """`x` (B, …) with zeros in the samples that are not kept."""
    return torch.where(keep_B.view(-1, *[1] * (x.ndim - 1)), x, 0.0)


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
