"""From the options to one run of the loop: which steps, when a sample stops, and how it is differentiated."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dynaxx.resonance.anderson import anderson
from dynaxx.resonance.config import ResonanceConfig
from dynaxx.resonance.implicit_gradient import at_fixed_point
from dynaxx.resonance.loop import Update, iterate, picard

STEPS = {"picard": picard, "anderson": anderson}


def solve(
    update: Update,
    first_BPR: Tensor,
    T: int,
    config: ResonanceConfig,
    residual: Callable[[Tensor, Tensor], Tensor],
    *,
    residuals: list[Tensor] | None = None,
    states: list[Tensor] | None = None,
) -> Tensor:
    """The messages (B, P, R) at the loop's end.

    Args:
        update: F.
        first_BPR: F(0).
        T: iterations at most.
        config: names solver, tolerance and gradient.
        residual: relative residual (taps, B) from (c, F(c)).
        residuals: where given, gets that of every iteration, at the cost of one more evaluation of F.
        states: where given, gets the messages that F was evaluated at, without their history.
    """
    noted = update if states is None else _noting(update, states)
    if config.checkpoint and torch.is_grad_enabled():
        noted = partial(checkpoint, noted, use_reentrant=False)
    watch = None if residuals is None else lambda c, new: residuals.append(residual(c, new))
    settled = None if config.tolerance is None else partial(_settled, residual, config.tolerance)
    step = STEPS[config.solver](first_BPR, config.damping)
    run = partial(iterate, noted, first_BPR, T, config.damping, step, settled, watch)
    return run() if config.gradient == "unrolled" else at_fixed_point(run, update)


def _settled(residual: Callable[[Tensor, Tensor], Tensor], tolerance: float, c_BPR: Tensor, new_BPR: Tensor) -> Tensor:
    # asked this way round NaN counts as settled: a sample that is not finite must not keep all others running
    return ~(residual(c_BPR, new_BPR) > tolerance).any(0)


def _noting(update: Update, states: list[Tensor]) -> Update:
    """`update`, which also notes the messages that it is given."""

    def noted(c_BPR: Tensor) -> Tensor:
        states.append(c_BPR.detach())
        return update(c_BPR)

    return noted
