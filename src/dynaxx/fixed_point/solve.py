"""From the options to one run of the loop: which steps, when a sample stops, and how it is differentiated."""

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dynaxx.config import ResonanceConfig
from dynaxx.fixed_point.anderson import anderson
from dynaxx.fixed_point.implicit_gradient import at_fixed_point
from dynaxx.fixed_point.iteration import FixedPoint, Update, iterate, picard

STEPS = {"picard": picard, "anderson": anderson}


def solve(
    loop: FixedPoint,
    T: int,
    config: ResonanceConfig,
    *,
    residuals: list[Tensor] | None = None,
    states: list[Tensor] | None = None,
) -> Tensor:
    """What is iterated, at the loop's end.

    Args:
        loop: F, F(0), and how far from settled.
        T: iterations at most.
        config: names solver, tolerance and gradient.
        residuals: where given, gets that of every iteration, at the cost of one more evaluation of F.
        states: where given, gets the points that F was evaluated at, without their history.
    """
    noted = loop.update if states is None else _noting(loop.update, states)
    if config.checkpoint and torch.is_grad_enabled():
        noted = partial(checkpoint, noted, use_reentrant=False)
    watch = None if residuals is None else lambda c, new: residuals.append(loop.residual(c, new))
    settled = None if config.tolerance is None else partial(_settled, loop, config.tolerance)
    step = STEPS[config.solver](loop.first, config.damping)
    run = partial(iterate, noted, loop.first, T, config.damping, step, settled, watch)
    return run() if config.gradient == "unrolled" else at_fixed_point(run, loop.update)


def _settled(loop: FixedPoint, tolerance: float, c_BPR: Tensor, new_BPR: Tensor) -> Tensor:
    # asked this way round NaN counts as settled: a sample that is not finite must not keep all others running
    return ~(loop.residual(c_BPR, new_BPR) > tolerance).any(0)


def _noting(update: Update, states: list[Tensor]) -> Update:
    """`update`, which also notes the messages that it is given."""

    def noted(c_BPR: Tensor) -> Tensor:
        states.append(c_BPR.detach())
        return update(c_BPR)

    return noted
