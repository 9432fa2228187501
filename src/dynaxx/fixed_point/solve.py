"""One run of an iteration: which steps are taken, when a sample stops, and how the end is differentiated."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dynaxx.config import ResonanceConfig
from dynaxx.fixed_point.anderson import anderson
from dynaxx.fixed_point.implicit_gradient import at_fixed_point
from dynaxx.fixed_point.iteration import FixedPoint, Update, iterate, picard

STEPS = {"picard": picard, "anderson": anderson}
"""Solvers by name: from F(0) and the damping to the steps of one run."""


@dataclass(frozen=True)
class SolverOptions:
    """How a fixed point is sought; see the fields of the same names in `ResonanceConfig`."""

    T: int
    """Number of iterations, or their limit where a tolerance is given."""
    damping: float
    """λ in (0, 1]."""
    solver: str
    """A key of `STEPS`."""
    tolerance: float | None
    """Relative residual at which a sample stops; None runs all T iterations."""
    gradient: str
    """`unrolled` or `implicit`."""
    checkpoint: bool
    """Whether iterations are recomputed in the backward pass."""

    @classmethod
    def of(cls, config: ResonanceConfig) -> "SolverOptions":
        """The solver's part of a model's options."""
        return cls(config.T, config.damping, config.solver, config.tolerance, config.gradient, config.checkpoint)


def solve(
    problem: FixedPoint,
    options: SolverOptions,
    *,
    residuals: list[Tensor] | None = None,
    states: list[Tensor] | None = None,
) -> Tensor:
    """The state c_T at which the iteration of `problem` ends.

    >>> c_BPR = solve(Anchored(exchange, p_BPR, None, grid), SolverOptions.of(config))  # doctest: +SKIP

    Args:
        problem: F, F(0), and the residual.
        options: solver, number of iterations, tolerance and gradient.
        residuals: if given, receives the residual after every iteration, at the cost of one more evaluation of F.
        states: if given, receives the states at which F was evaluated, detached.
    """
    update = problem.update if states is None else _recording(problem.update, states)
    if options.checkpoint and torch.is_grad_enabled():
        update = partial(checkpoint, update, use_reentrant=False)
    watch = None if residuals is None else lambda c, new: residuals.append(problem.residual(c, new))
    settled = None if options.tolerance is None else partial(_settled, problem, options.tolerance)
    step = STEPS[options.solver](problem.first, options.damping)
    run = partial(iterate, update, problem.first, options.T, options.damping, step, settled, watch)
    return run() if options.gradient == "unrolled" else at_fixed_point(run, problem.update)


def _settled(problem: FixedPoint, tolerance: float, c: Tensor, new: Tensor) -> Tensor:
    # NaN counts as converged: a sample that is not finite must not keep all others iterating
    return ~(problem.residual(c, new) > tolerance).any(0)


def _recording(update: Update, states: list[Tensor]) -> Update:
    """`update`, which also records the states that it is evaluated at."""

    def recorded(c: Tensor) -> Tensor:
        states.append(c.detach())
        return update(c)

    return recorded
