"""The result of resonance for one batch."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Trace:
    """How the loop converged for one batch.

    Attributes:
        taps: paths of the taps that receive messages, in depth order.
        residual: (T, taps, B), the relative residual after each iteration.
        gates: (B, couplings), or None where the model has no gate.
        pairs: the couplings as (target, source) paths, in the order of `gates`.
    """

    taps: tuple[str, ...]
    residual: Tensor
    gates: Tensor | None
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ResonanceOutput:
    """What was added to the taps of a batch, and the losses and diagnostics of how it was found.

    Attributes:
        delta: Δ_l of each output tap: on the grid (B, P, C_l), or in the tap's own shape in the reentrant dynamics.
        residual: from n to the relative residual (taps, n) of the first n samples at the loop's end, differentiable. It
            costs one more evaluation of F, when called. None if no loop ran.
        trace: how the loop converged, if asked for.
        extra_loss: additional training loss, or None: InfoNCE of the mutual-information gate, plus the distillation
            loss in hybrid mode.
        distillation_loss: in training mode, from a weight of the loop's later states to the student's loss against this
            loop; see `student.distillation_loss`. None without a student or a loop.
        fallback: (B,) bool: samples that keep the backbone's activations, since an anchor or a message was not finite.
    """

    delta: list[Tensor]
    residual: Callable[[int], Tensor] | None = None
    trace: Trace | None = None
    extra_loss: Tensor | None = None
    distillation_loss: Callable[[float], Tensor] | None = None
    fallback: Tensor | None = None
