"""Standardising anchors: y⁰ = (P x⁰ - μ) / σ, with μ and σ per channel fixed from training data."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dynaxx.resonance.errors import ResonanceError


class AnchorStatistics(nn.Module):
    """Per-channel mean μ_l and standard deviation σ_l of each tap's anchor on the grid (DESIGN §2).

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

    @torch.no_grad()
    def fit(self, batches: Iterable[list[Tensor]]) -> None:
        """Set μ and σ from batches of pooled anchors, one (B, P, C_l) a tap; non-finite samples are left out.

        Sums run in float64. A channel that never varies is centred and gets the root mean square of its tap's σ (1
        where the whole tap stands still): nothing is divided by 0, and what is written there has the tap's scale.

        Raises:
            ResonanceError: no finite sample came.
        """
        count = 0
        total: list[Tensor] = []
        square: list[Tensor] = []
        for anchors in batches:
            finite_B = torch.stack([torch.isfinite(a).flatten(1).all(1) for a in anchors]).all(0)
            kept = [anchor[finite_B].double().flatten(0, 1) for anchor in anchors]
            count += len(kept[0])
            sums = [k.sum(0) for k in kept]
            squares = [k.square().sum(0) for k in kept]
            total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
            square = [a + b for a, b in zip(square, squares, strict=True)] if square else squares
        if count == 0:
            raise ResonanceError("batches: no finite sample to take statistics from; give at least one")
        for tap in range(self.taps):
            mean = total[tap] / count
            std = (square[tap] / count - mean.square()).clamp_min(0).sqrt()
            still = std <= 1e-6 * mean.abs().clamp_min(1e-6)
            typical = torch.ones_like(std[0]) if still.all() else std[~still].square().mean().sqrt()
            self.mean(tap).copy_(mean)
            self.std(tap).copy_(torch.where(still, typical, std))
        self.get_buffer("fitted").fill_(True)
