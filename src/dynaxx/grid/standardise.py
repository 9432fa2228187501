"""Standardised anchors: y⁰ = (P x⁰ - μ) / σ, with μ and σ per channel fixed from training data."""

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Mean μ_l and standard deviation σ_l per channel of each tap's anchor on the grid.

    Before `set` μ = 0 and σ = 1. They are buffers: they travel with the state dict and are never trained.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        for tap, width in enumerate(channels):
            self.register_buffer(f"mean_{tap}", torch.zeros(width))
            self.register_buffer(f"std_{tap}", torch.ones(width))
        self.register_buffer("fitted", torch.tensor(False))

    def mean(self, tap: int) -> Tensor:
        return self.get_buffer(f"mean_{tap}")

    def std(self, tap: int) -> Tensor:
        return self.get_buffer(f"std_{tap}")

    def forward(self, anchor_BPC: Tensor, tap: int) -> Tensor:
        """The standardised anchor of one tap, (B, P, C_l)."""
        return (anchor_BPC.to(self.mean(tap).dtype) - self.mean(tap)) / self.std(tap)

    @torch.no_grad()
    def set(self, per_tap: list[tuple[Tensor, Tensor]]) -> None:
        """Set (μ, σ) of every tap."""
        for tap, (mean, std) in enumerate(per_tap):
            self.mean(tap).copy_(mean)
            self.std(tap).copy_(std)
        self.get_buffer("fitted").fill_(True)
