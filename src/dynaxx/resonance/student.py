"""The gating network of the implicit mode: one pass that predicts where the loop would settle.

    ĉ = g ⊙ φ₂(p_L + W₂ φ₁(W₁ p + b₁))

`p` are the projected anchors of every coupling, `p_L` those of the couplings into the last tap. `W₂ = 0` at the
start: an untrained student is one undamped step of the loop, so learning starts from T = 1 and not from noise.

Shape suffixes: B batch, P positions of the grid, R message channels, S those of the couplings into the last tap.
"""

import torch
from torch import Tensor, nn

from dynaxx.resonance.bottleneck import Bottleneck, Grid


class Student(nn.Module):
    """Predicts the agreed messages into the last tap from the projected anchors (DESIGN §2, implicit)."""

    def __init__(
        self,
        messages: int,
        into_last: int,
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
        self.out = nn.Linear(hidden, into_last, bias=False)
        self.outer = Bottleneck(into_last, activation, depthwise, tokens, prefix)
        nn.init.zeros_(self.out.weight)

    def forward(self, p_BPR: Tensor, p_last_BPS: Tensor, gate_BQS: Tensor | None, grid: Grid) -> Tensor:
        """ĉ (B, P, S)."""
        hidden = self.inner(self.mix(p_BPR), grid)
        message = self.outer(p_last_BPS + self.out(hidden), grid)
        return message if gate_BQS is None else gate_BQS * message

    @torch.no_grad()
    def start_from(self, phi: Bottleneck, into_last: Tensor) -> None:
        """Take over the loop's depthwise kernels of the messages into the last tap, given their channel numbers."""
        if self.outer.kernel is not None and phi.kernel is not None:
            self.outer.kernel.copy_(phi.kernel[into_last])
