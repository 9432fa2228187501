"""Does the loop contract? A bound κ on its Jacobian, and what follows from it.

    κ = min over scalings D of ‖D A D⁻¹‖₂,    A = g_max · diag(stretch) · G

φ acts on each message channel alone and stretches channel i by at most stretch_i, so D c contracts at the rate κ for
every diagonal D > 0, and the smallest κ found counts. With D = I and the largest stretch for all channels it is the
bound Lip(act) · g_max · (1 + ‖D‖) · ‖G‖₂. For a non-negative A the best D is known: the root of the left over the right
Perron vector, which brings the norm down to the spectral radius (Stoer and Witzgall 1962). So three are tried: D = I,
the best one for |A|, and the best one for the norms of A's blocks, which is constant on a block and sees its signs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx.errors import ResonanceError

SQUARINGS = 9
"""Of a matrix whose Perron vectors are sought."""


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
def stability_of(Gt_RR: Tensor, stretch_R: Tensor | float, damping: float, block: int = 1) -> Stability:
    """What the bound says of a loop; in float64."""
    kappa = float(contraction_bound(Gt_RR.double(), _double(stretch_R), block))
    return Stability(kappa, math.isfinite(kappa) and kappa < 1.0, damping)


def contraction_bound(Gt_RR: Tensor, stretch_R: Tensor | float, block: int = 1) -> Tensor:
    """κ, differentiable where the largest singular value is simple; infinite where an entry is not finite.

    Args:
        Gt_RR: Gᵀ, so that messages stand in rows.
        stretch_R: of each channel, g_max included.
        block: channels of a coupling, which divide R.
    """
    At_RR = Gt_RR * stretch_R
    finite = torch.isfinite(At_RR.detach().square().sum())  # entries whose squares overflow have no norm either
    At_RR = torch.where(finite, At_RR, 0.0)
    fixed = At_RR.detach()
    d_R = best_scaling(fixed, block)
    # an exact SVD: a Rayleigh quotient would lie on a non-normal matrix
    u_RR, _, vt_RR = torch.linalg.svd(scaled(fixed, d_R))
    return torch.where(finite, u_RR[:, 0] @ scaled(At_RR, d_R) @ vt_RR[0], math.inf)


def best_scaling(At_RR: Tensor, block: int = 1) -> Tensor:
    """The diagonal of D, (R,): of the three that are tried, the one that brings ‖D Aᵀ D⁻¹‖₂ lowest."""
    blocks_NN = torch.linalg.matrix_norm(At_RR.unflatten(1, (-1, block)).unflatten(0, (-1, block)), ord=2, dim=(1, 3))
    tried = [torch.ones_like(At_RR[0]), perron_scaling(At_RR), perron_scaling(blocks_NN).repeat_interleave(block)]
    norms = torch.stack([torch.linalg.matrix_norm(scaled(At_RR, d_R), ord=2) for d_R in tried])
    return torch.stack(tried)[norms.argmin()]


def scaled(At_RR: Tensor, d_R: Tensor) -> Tensor:
    """D Aᵀ D⁻¹ of the diagonal d."""
    return d_R[..., :, None] * At_RR / d_R[..., None, :]


def perron_scaling(At_RR: Tensor) -> Tensor:
    """Roots of left over right Perron vector of |A|, (…, R); any positive vector gives a true bound."""
    left_R, right_R = perron_vectors(At_RR)
    return (left_R / right_R).sqrt()


def perron_vectors(At_RR: Tensor) -> tuple[Tensor, Tensor]:
    """The left and the right one of |A|, (…, R).

    They are read off a high power of I + |A| / max |A|, worked out in float64: where nothing goes round in a circle |A|
    has none that is positive, yet there the scaling brings the norm down to some thousandths of what it was.
    """
    M_RR = At_RR.double().abs()
    M_RR = M_RR / M_RR.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(M_RR.dtype).tiny)
    M_RR = M_RR + torch.eye(M_RR.shape[-1], dtype=M_RR.dtype, device=M_RR.device)
    for _ in range(SQUARINGS):
        M_RR = M_RR @ M_RR
        M_RR = M_RR / M_RR.amax((-2, -1), keepdim=True)
    # the power's smallest entry on the diagonal is 2 ** -(2 ** SQUARINGS) of its largest: no sum is zero
    return M_RR.sum(-2).to(At_RR), M_RR.sum(-1).to(At_RR)


def _double(stretch_R: Tensor | float) -> Tensor | float:
    return stretch_R.double() if isinstance(stretch_R, Tensor) else stretch_R
