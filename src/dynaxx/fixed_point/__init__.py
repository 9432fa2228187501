"""Fixed points c = F(c): solver, gradient, and convergence bound. This package does not depend on network layers.

`iteration` has the damped iteration, `anderson` has a faster step, and `solve` runs the solver that `SolverOptions`
selects. `implicit_gradient` differentiates at the fixed point. `linear` solves an affine F exactly. `contraction`
bounds the Jacobian by κ, and `certificate` scales a feedback matrix until κ stays below a limit.
"""

from dynaxx.fixed_point.certificate import Certificate
from dynaxx.fixed_point.contraction import Stability, stability_of
from dynaxx.fixed_point.iteration import FixedPoint, Update, iterate, picard, relative_residual
from dynaxx.fixed_point.linear import fold
from dynaxx.fixed_point.solve import STEPS, SolverOptions, solve

__all__ = [
    "STEPS",
    "Certificate",
    "FixedPoint",
    "SolverOptions",
    "Stability",
    "Update",
    "fold",
    "iterate",
    "picard",
    "relative_residual",
    "solve",
    "stability_of",
]
