"""Does the loop contract? A bound κ on its Jacobian, and what follows from it.

    κ = min over scalings D of ‖D A D⁻¹‖₂,    A = g_max · diag(stretch) · G

φ acts on each message channel alone and stretches channel i by at most stretch_i, so D c contracts at the rate κ for
every diagonal D > 0, and the smallest κ found counts. With D = I and the largest stretch for all channels it is the
bound Lip(act) · g_max · (1 + ‖D‖) · ‖G‖₂. For a non-negative A the best D is known: the root of the left over the right
Perron vector, which brings the norm down to the spectral radius (Stoer and Witzgall 1962).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx.resonance.errors import ResonanceError


@dataclass(frozen=True)
class Stability:
    """The bound on the loop's Jacobian, and what it certifies.

    Attributes:
        kappa: κ, as above.
        contraction_certified: κ < 1, so there is one fixed point and every start reaches it.
        damping: λ of the loop.
    """

    kappa: float
    contraction_certified: bool
    damping: float

    @property
    def rate(self) -> float:
        """Factor by which the distance to the fixed point shrinks in one iteration at least: 1 - λ (1 - κ)."""
        return 1.0 - self.damping * (1.0 - self.kappa)

    def iterations(self, tolerance: float) -> int | None:
        """Iterations after which the error is at most `tolerance` times that of the start; None if none is certain.

        Raises:
            ResonanceError: a tolerance outside (0, 1).
        """
        if not 0.0 < tolerance < 1.0:
            raise ResonanceError(f"tolerance={tolerance!r}: give a number in (0, 1)")
        if not self.contraction_certified:
            return None
        if self.rate <= 0.0:
            return 1
        return max(1, math.ceil(math.log(tolerance) / math.log(self.rate)))


@torch.no_grad()
def stability_of(Gt_RR: Tensor, stretch_R: Tensor | float, damping: float) -> Stability:
    """What the bound says of a loop; in float64."""
    kappa = float(contraction_bound(Gt_RR.double(), _double(stretch_R)))
    return Stability(kappa, math.isfinite(kappa) and kappa < 1.0, damping)


def contraction_bound(Gt_RR: Tensor, stretch_R: Tensor | float) -> Tensor:
    """κ, differentiable where the largest singular value is simple; infinite where an entry is not finite.

    Args:
        Gt_RR: Gᵀ, so that messages stand in rows.
        stretch_R: of each channel, g_max included.
    """
    At_RR = Gt_RR * stretch_R
    finite = torch.isfinite(At_RR.detach().square().sum())  # entries whose squares overflow have no norm either
    At_RR = torch.where(finite, At_RR, 0.0)
    fixed = At_RR.detach()
    d_R = best_scaling(fixed)
    # an exact SVD: a Rayleigh quotient would lie on a non-normal matrix
    u_RR, _, vt_RR = torch.linalg.svd(_scaled(fixed, d_R))
    return torch.where(finite, u_RR[:, 0] @ _scaled(At_RR, d_R) @ vt_RR[0], math.inf)


def best_scaling(At_RR: Tensor) -> Tensor:
    """The diagonal of D, (R,): the identity or Perron's, whichever brings ‖D Aᵀ D⁻¹‖₂ lower."""
    plain, perron = torch.ones_like(At_RR[0]), _perron_scaling(At_RR)
    norms = [torch.linalg.matrix_norm(_scaled(At_RR, d), ord=2) for d in (plain, perron)]
    return torch.where(norms[0] <= norms[1], plain, perron)


def _scaled(At_RR: Tensor, d_R: Tensor) -> Tensor:
    return d_R[:, None] * At_RR / d_R


def _perron_scaling(At_RR: Tensor, sweeps: int = 30) -> Tensor:
    """Roots of left over right Perron vector of |A|; any positive vector gives a true bound, so few sweeps will do."""
    M_RR = At_RR.abs() / At_RR.abs().max().clamp_min(torch.finfo(At_RR.dtype).tiny)
    M_RR = M_RR + 1e-6  # irreducible, so both vectors are positive
    right, left = torch.ones_like(M_RR[0]), torch.ones_like(M_RR[0])
    for _ in range(sweeps):
        right, left = M_RR @ right, left @ M_RR
        right, left = right / right.norm(), left / left.norm()
    return (left / right).sqrt()


def _double(stretch_R: Tensor | float) -> Tensor | float:
    return stretch_R.double() if isinstance(stretch_R, Tensor) else stretch_R
