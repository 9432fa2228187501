"""Gates: how much of each coupling a sample lets through."""

import torch
from torch import Tensor, nn

G_MAX = {"none": 1.0, "learned": 2.0}
"""The largest value that a gate of each kind can take, as the stability bound needs it."""


class LearnedGate(nn.Module):
    """g_lk = 2σ(w_lkᵀ pool(y⁰)), one scalar a sample and coupling; `y⁰` all taps' anchors (DESIGN §2).

    `w = 0` at the start, so every gate opens at exactly 1.
    """

    def __init__(self, channels: list[int], couplings: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(sum(channels), couplings))

    def forward(self, y_BPC: list[Tensor]) -> Tensor:
        """Gates (B, couplings) of the standardised anchors, one (B, P, C_l) a tap."""
        pooled = torch.cat([y.mean(1) for y in y_BPC], dim=1)
        return 2.0 * torch.sigmoid(pooled @ self.weight)
