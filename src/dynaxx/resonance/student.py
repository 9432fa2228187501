"""The student of the implicit mode: one pass that predicts where the loop ends.

    ĉ = g ⊙ φ₂(p_S + W₂ φ₁(W₁ p + b₁)),    Δ̂_l = s σ_l Σ_k U_lk ĉ_lk

`p` are the projected anchors of every coupling, `p_S` those of the couplings into output taps. `W₂ = 0` at the start:
an untrained student is one undamped step of the loop. In the reentrant dynamics the loop ends outside the range of
U_lk, so the student has its own matrices, which start as the loop's.

Shape suffixes: B batch, P positions of the grid, R message channels, S those into output taps, C channels of these
taps.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dynaxx.grid import Grid
from dynaxx.resonance.bottleneck import Bottleneck


class Student(nn.Module):
    """Predicts the final messages into the output taps.

    Args:
        phi: the loop's bottleneck; the student's two are like it, and the second one starts from its kernels.
        channels_S: the message channels into output taps.
        hidden: width of the inner layer.
    """

    def __init__(self, phi: Bottleneck, channels_S: Tensor, hidden: int) -> None:
        super().__init__()
        # a linear student would make the implicit mode a linear probe: its inner layer is never linear
        inner = "gelu" if phi.activation == "identity" else phi.activation
        self.mix = nn.Linear(phi.channels, hidden)
        self.inner = phi.like(hidden, inner)
        self.out = nn.Linear(hidden, len(channels_S), bias=False)
        self.outer = phi.like(len(channels_S), phi.activation)
        self.U: nn.ParameterList | None = None
        nn.init.zeros_(self.out.weight)
        if self.outer.kernel is not None and phi.kernel is not None:
            self.outer.kernel.data.copy_(phi.kernel.data[channels_S])

    def forward(self, p_BPR: Tensor, p_BPS: Tensor, gate_BQS: Tensor | None, grid: Grid) -> Tensor:
        """ĉ (B, P, S)."""
        hidden = self.inner(self.mix(p_BPR), grid)
        message = self.outer(p_BPS + self.out(hidden), grid)
        return message if gate_BQS is None else gate_BQS * message

    def own_writers(self, U: list[Tensor]) -> None:
        """Give the student its own matrices, one (S_l, C_l) per output tap, which start as `U`."""
        self.U = nn.ParameterList([nn.Parameter(matrix.detach().clone()) for matrix in U])


def distillation_loss(
    predict: Callable[[Tensor], Tensor], inputs_BPR: Sequence[Tensor], target_BPC: Tensor, weight: float
) -> Tensor:
    """Σ_l ‖Δ̂_l - Δ_l*‖² / Σ_l ‖Δ_l*‖² on the grid, from the loop's start, plus `weight` times its mean over later
    states.

    A student that also finds the end from later states learns more about the loop. Only the student receives gradients.

    >>> p, end = torch.zeros(1, 4, 2), torch.ones(1, 4, 3)
    >>> distillation_loss(lambda p: torch.full((1, 4, 3), 0.5), [p, p], end, weight=1.0)  # twice 0.5²
    tensor(0.5000)

    Args:
        predict: the student, from p (B, P, R) to what it writes (B, P, C).
        inputs_BPR: arguments of φ at the start, then at the loop's later states.
        target_BPC: what the loop writes at its end.
        weight: weight of the later states; 0 leaves them out.
    """
    target_BPC = target_BPC.detach()
    size = target_BPC.square().mean().clamp_min(1e-20)

    def error(p_BPR: Tensor) -> Tensor:
        return (predict(p_BPR.detach()) - target_BPC).square().mean() / size

    start, later = inputs_BPR[0], inputs_BPR[1:]
    if weight == 0 or not later:
        return error(start)
    return error(start) + weight * torch.stack([error(p) for p in later]).mean()
