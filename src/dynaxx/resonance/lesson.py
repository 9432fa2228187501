"""What a student is taught: to say in one pass where the loop ends (docs/theory.md#implicit).

    Σ_l ‖Δ̂_l - Δ_l*‖² / Σ_l ‖Δ_l*‖²,   over the taps l that the output reads, on the grid

Shape suffixes: B batch, P positions, R message channels, C channels of those taps, side by side.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def lesson(
    predict: Callable[[Tensor], Tensor], inputs_BPR: Sequence[Tensor], target_BPC: Tensor, weight: float
) -> Tensor:
    """The student's relative error from the loop's start, plus `weight` times its mean from the loop's later states.

    A student that also finds the end from halfway has seen more of the way there. Nothing but the student gets a
    gradient.

    Args:
        predict: the student, from p (B, P, R) to what it writes (B, P, C).
        inputs_BPR: what messages read at the start, then at the states that the loop went through.
        target_BPC: what the loop writes at its end.
        weight: of the later states; 0 leaves them out.
    """
    target_BPC = target_BPC.detach()
    size = target_BPC.square().mean().clamp_min(1e-20)

    def miss(p_BPR: Tensor) -> Tensor:
        return (predict(p_BPR.detach()) - target_BPC).square().mean() / size

    start, later = inputs_BPR[0], inputs_BPR[1:]
    if weight == 0 or not later:
        return miss(start)
    return miss(start) + weight * torch.stack([miss(p) for p in later]).mean()
