"""What a student is taught: to say in one pass where the loop ends (DESIGN §2, implicit).

    ‖σ U (ĉ - c*)‖² / ‖σ U c*‖²

Shape suffixes: B batch, P positions, R message channels, S those into the last tap, C channels of the last tap.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def lesson(
    predict: Callable[[Tensor], Tensor],
    inputs_BPR: Sequence[Tensor],
    target_BPS: Tensor,
    W_SC: Tensor,
    weight: float,
) -> Tensor:
    """The student's relative error from the loop's start, plus `weight` times its mean from the loop's later states.

    A student that also finds the end from halfway has seen more of the way there. Nothing but the student gets a
    gradient.

    Args:
        predict: the student, from p (B, P, R) to ĉ (B, P, S).
        inputs_BPR: p, then p + G c for the states c that the loop went through.
        target_BPS: c*.
        W_SC: σ U into the last tap.
        weight: of the later states; 0 leaves them out.
    """
    target_BPS, W_SC = target_BPS.detach(), W_SC.detach()
    size = (target_BPS @ W_SC).square().mean().clamp_min(1e-12)

    def miss(p_BPR: Tensor) -> Tensor:
        return ((predict(p_BPR.detach()) - target_BPS) @ W_SC).square().mean() / size

    start, later = inputs_BPR[0], inputs_BPR[1:]
    if weight == 0 or not later:
        return miss(start)
    return miss(start) + weight * torch.stack([miss(p) for p in later]).mean()
