"""One run of a fixed-point solver: its steps, its stopping rule per sample, and its gradient."""

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
"""Solvers by name: each makes the step function of one run from F(0) and the damping."""


@dataclass(frozen=True)
class SolverOptions:
    """Options of the search for a fixed point; see the fields of the same names in `ResonanceConfig`."""

    T: int
    """Number of iterations; with a tolerance, the largest number."""
    damping: float
    """Damping λ in (0, 1]: the weight of F(c) in each step."""
    solver: str
    """Name of the solver, a key of `STEPS`."""
    tolerance: float | None
    """Relative residual at which a sample stops; None runs all T iterations."""
    gradient: str
    """Method of differentiation: `unrolled` or `implicit`."""
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
        problem: object with the function F, the value F(0), and the residual.
        options: solver, number of iterations, tolerance and gradient.
        residuals: list that, if given, receives the residual after every iteration, for one more evaluation of F.
        states: list that, if given, receives the states at which F was evaluated, detached.
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
    """The function `update`, which also records each state at which the function is evaluated."""

    def recorded(c: Tensor) -> Tensor:
        states.append(c.detach())
        return update(c)

    return recorded
