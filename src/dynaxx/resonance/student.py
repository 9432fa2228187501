"""The gating network of the implicit mode: one pass that predicts where the loop would settle.

    ĉ = g ⊙ φ₂(p_S + W₂ φ₁(W₁ p + b₁)),    Δ̂_l / σ_l = s Σ_k U_lk ĉ_lk

`p` are the projected anchors of every coupling, `p_S` those of the couplings into taps that the output reads. `W₂ = 0`
at the start: an untrained student is one undamped step of the loop, so learning starts from T = 1 and not from noise.
Where the backbone's segments run again, the loop ends outside what the U_lk can write: the student then has its own,
which start as the loop's.

Shape suffixes: B batch, P positions of the grid, R message channels, S those into taps that the output reads, C the
channels of those taps.
"""

import torch
from torch import Tensor, nn

from dynaxx.resonance.bottleneck import Bottleneck, Grid


class Student(nn.Module):
    """Predicts the agreed messages into the taps that the output reads (docs/theory.md#implicit)."""

    def __init__(
        self,
        messages: int,
        into_seen: int,
        hidden: int,
        activation: str,
        depthwise: bool,
        tokens: bool,
        prefix: int = 0,
    ):
        super().__init__()
        # a linear student would make the implicit mode a linear probe: its own nonlinearity is always there
        inner = "gelu" if activation == "identity" else activation
        self.mix = nn.Linear(messages, hidden)
        self.inner = Bottleneck(hidden, inner, depthwise, tokens, prefix)
        self.out = nn.Linear(hidden, into_seen, bias=False)
        self.outer = Bottleneck(into_seen, activation, depthwise, tokens, prefix)
        self.U: nn.ParameterList | None = None
        nn.init.zeros_(self.out.weight)

    def forward(self, p_BPR: Tensor, p_seen_BPS: Tensor, gate_BQS: Tensor | None, grid: Grid) -> Tensor:
        """ĉ (B, P, S)."""
        hidden = self.inner(self.mix(p_BPR), grid)
        message = self.outer(p_seen_BPS + self.out(hidden), grid)
        return message if gate_BQS is None else gate_BQS * message

    @torch.no_grad()
    def start_from(self, phi: Bottleneck, into_seen: Tensor) -> None:
        """Take over the loop's depthwise kernels of the messages into those taps, given their channel numbers."""
        if self.outer.kernel is not None and phi.kernel is not None:
            self.outer.kernel.copy_(phi.kernel[into_seen])

    def write_itself(self, U: list[Tensor]) -> None:
        """Give the student matrices of its own, (S_l, C_l) a tap, that start as `U`."""
        self.U = nn.ParameterList([nn.Parameter(matrix.detach().clone()) for matrix in U])
