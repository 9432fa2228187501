"""The taps' activations of one batch, pooled onto the grid, and the sources of the call.

Shape suffixes: B batch, P positions of the grid (1 of a point), C channels.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dynaxx.grid import Grid


class Source(NamedTuple):
    """A source of a batch on the grid: it is read like a tap, and never written.

    Attributes:
        x_BPC: P x, zero in the samples that lack it; (B, 1, C) where it is one vector.
        present_B: bool, the samples that have it; None if all have.
    """

    x_BPC: Tensor
    present_B: Tensor | None = None


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
