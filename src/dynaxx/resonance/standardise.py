"""Standardising anchors: y⁰ = (P x⁰ - μ) / σ, with μ and σ per channel fixed from training data."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dynaxx.errors import ResonanceError


class AnchorStatistics(nn.Module):
    """Per-channel mean μ_l and standard deviation σ_l of each tap's anchor on the grid (docs/theory.md#anchored).

    Until `fit` is called μ = 0 and σ = 1. They are buffers: they travel with the state dict and are never trained.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.taps = len(channels)
        for tap, width in enumerate(channels):
            self.register_buffer(f"mean_{tap}", torch.zeros(width))
            self.register_buffer(f"std_{tap}", torch.ones(width))
        self.register_buffer("fitted", torch.tensor(False))

    def mean(self, tap: int) -> Tensor:
        return self.get_buffer(f"mean_{tap}")

    def std(self, tap: int) -> Tensor:
        return self.get_buffer(f"std_{tap}")

    def forward(self, anchor_BPC: Tensor, tap: int) -> Tensor:
        """Standardise the pooled anchor of one tap, (B, P, C_l)."""
        return (anchor_BPC.to(self.mean(tap).dtype) - self.mean(tap)) / self.std(tap)

    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Set μ and σ from batches of pooled anchors, one (B, P, C_l) a tap; see `moments`."""
        self.set(moments(batches))

    @torch.no_grad()
    def set(self, per_tap: list[tuple[Tensor, Tensor]]) -> None:
        """Set (μ, σ) of every tap."""
        for tap, (mean, std) in enumerate(per_tap):
            self.mean(tap).copy_(mean)
            self.std(tap).copy_(std)
        self.get_buffer("fitted").fill_(True)


@torch.no_grad()
def moments(batches: Iterable[list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """(μ, σ) per channel of each part, from batches that hold one (B, P, C) a part.

    Sums run in float64; samples that are not finite in every part are left out. A channel that never varies is centred
    and gets the root mean square of its part's σ (1 where the whole part stands still): nothing is divided by 0, and
    what is written there has the scale of its tap.

    Raises:
        ResonanceError: no finite sample came.
    """
    sums: list[list[Tensor]] = []  # of every part: how many positions, their sum, and the sum of their squares
    for parts in batches:
        finite_B = torch.stack([torch.isfinite(part).flatten(1).all(1) for part in parts]).all(0)
        kept = [part[finite_B].double().flatten(0, 1) for part in parts]
        more = [[torch.tensor(len(k)), k.sum(0), k.square().sum(0)] for k in kept]
        sums = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(sums, more, strict=True)] if sums else more
    if not sums or not any(count for count, _, _ in sums):
        raise ResonanceError("batches: no finite sample to take statistics from; give at least one")
    return [_mean_and_std(*part) for part in sums]


def _mean_and_std(count: Tensor, total_C: Tensor, square_C: Tensor) -> tuple[Tensor, Tensor]:
    mean = total_C / count
    std = (square_C / count - mean.square()).clamp_min(0).sqrt()
    still = std <= 1e-6 * mean.abs().clamp_min(1e-6)
    typical = torch.ones_like(std[0]) if still.all() else std[~still].square().mean().sqrt()
    return mean, torch.where(still, typical, std)
