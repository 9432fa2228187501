"""What one resonance of a batch came to."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dynaxx.resonance.trace import Trace


@dataclass(frozen=True)
class Agreement:
    """The answer of the taps to a batch, and what training asks about how it came about.

    Attributes:
        delta: Δ_l of each tap that the output reads: on the grid (B, P, C_l), or in the tap's own shape where the
            backbone's segments ran again.
        residual: gives the relative residual (taps, n) of the first n samples at the loop's end, differentiable;
            called only when asked, since it costs one more evaluation of the loop's right-hand side. None where no
            loop ran.
        trace: the settling, where asked for.
        auxiliary: in training, a loss that gates, or the student of the hybrid mode, need beside the task's, else None.
        lesson: in training mode, gives the student's loss against this loop (see `lesson`) for a weight of the loop's
            later states. None where there is no student or no loop ran.
    """

    delta: list[Tensor]
    residual: Callable[[int], Tensor] | None = None
    trace: Trace | None = None
    auxiliary: Tensor | None = None
    lesson: Callable[[float], Tensor] | None = None
