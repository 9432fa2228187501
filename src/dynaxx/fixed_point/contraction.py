"""Does the loop contract? A bound κ on the loop's Jacobian, and the number of iterations that follows from κ.

    κ = min over scalings D of ‖D A D⁻¹‖₂,    A = g_max · diag(lipschitz) · G

φ acts on each message channel separately, with Lipschitz constant lipschitz_i, so D c contracts at the rate κ for
every diagonal D > 0, and the smallest κ found counts. With D = I and the largest constant for all channels, κ is the
bound Lip(act) · g_max · (1 + ‖D‖) · ‖G‖₂. For a non-negative A the best D is known: the root of the left over the
right Perron vector, which lowers the norm to the spectral radius (Stoer and Witzgall 1962). So three scalings are
tried: D = I, the best D for |A|, and the best D for the norms of A's blocks. The last D is constant on each block and
uses the signs within a block.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx.errors import ResonanceError

SQUARINGS = 9
"""Number of times that the matrix is squared to find its Perron vectors."""


@dataclass(frozen=True)
class Stability:
    """The bound on the loop's Jacobian, and whether it certifies contraction.

    Attributes:
        kappa: the bound κ, defined at the top of this module.
        contraction_certified: whether κ < 1; then one fixed point exists, and the loop reaches it from every start.
        damping: λ of the iteration.
    """

    kappa: float
    contraction_certified: bool
    damping: float

    @property
    def rate(self) -> float:
        """Upper bound of the factor by which one iteration shrinks the error: 1 - λ (1 - κ)."""
        return 1.0 - self.damping * (1.0 - self.kappa)

    def iterations(self, tolerance: float) -> int | None:
        """Iterations after which the error is at most `tolerance` times its start; None if contraction is not
        certified.

        >>> Stability(kappa=0.5, contraction_certified=True, damping=1.0).iterations(0.1)
        4

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
def stability_of(Gt_RR: Tensor, lipschitz_R: Tensor | float, damping: float, block: int = 1) -> Stability:
    """The bound for the current Gᵀ, computed in float64; arguments as in `contraction_bound`."""
    kappa = float(contraction_bound(Gt_RR.double(), _double(lipschitz_R), block))
    return Stability(kappa, math.isfinite(kappa) and kappa < 1.0, damping)


def contraction_bound(Gt_RR: Tensor, lipschitz_R: Tensor | float, block: int = 1) -> Tensor:
    """The bound κ, differentiable if the largest singular value is simple; infinite if an entry is not finite.

    >>> round(float(contraction_bound(torch.tensor([[0.0, 4.0], [0.01, 0.0]]), 1.0)), 6)
    0.2

    Args:
        Gt_RR: Gᵀ; rows are the messages that are read.
        lipschitz_R: Lipschitz constant of each channel, g_max included.
        block: number of channels per coupling, a divisor of R.
    """
    At_RR = Gt_RR * lipschitz_R
    finite = torch.isfinite(At_RR.detach().square().sum())  # entries whose squares overflow have no norm either
    At_RR = torch.where(finite, At_RR, 0.0)
    fixed = At_RR.detach()
    d_R = best_scaling(fixed, block)
    # an exact SVD: a Rayleigh quotient would lie on a non-normal matrix
    u_RR, _, vt_RR = torch.linalg.svd(scaled(fixed, d_R))
    return torch.where(finite, u_RR[:, 0] @ scaled(At_RR, d_R) @ vt_RR[0], math.inf)


def best_scaling(At_RR: Tensor, block: int = 1) -> Tensor:
    """The diagonal of the scaling D, (R,): of three candidates, the D with the smallest ‖D Aᵀ D⁻¹‖₂."""
    blocks_NN = torch.linalg.matrix_norm(At_RR.unflatten(1, (-1, block)).unflatten(0, (-1, block)), ord=2, dim=(1, 3))
    tried = [torch.ones_like(At_RR[0]), perron_scaling(At_RR), perron_scaling(blocks_NN).repeat_interleave(block)]
    norms = torch.stack([torch.linalg.matrix_norm(scaled(At_RR, d_R), ord=2) for d_R in tried])
    return torch.stack(tried)[norms.argmin()]


def scaled(At_RR: Tensor, d_R: Tensor) -> Tensor:
    """The scaled matrix D Aᵀ D⁻¹, where d is the diagonal of D."""
    return d_R[..., :, None] * At_RR / d_R[..., None, :]


def perron_scaling(At_RR: Tensor) -> Tensor:
    """Roots of left over right Perron vector of |A|, (…, R); any positive vector gives a valid bound."""
    left_R, right_R = perron_vectors(At_RR)
    return (left_R / right_R).sqrt()


def perron_vectors(At_RR: Tensor) -> tuple[Tensor, Tensor]:
    """The left and the right Perron vector of |A|, (…, R), from a high power of I + |A| / max |A| in float64.

    >>> left, right = perron_vectors(torch.tensor([[0.0, 4.0], [1.0, 0.0]]))
    >>> [round(float(part[0] / part[1]), 3) for part in (left, right)]
    [0.5, 2.0]

    Without a cycle |A| is nilpotent and has no positive Perron vector. The vectors used here still give a valid bound,
    about a thousandth of the unscaled norm.
    """
    M_RR = At_RR.double().abs()
    M_RR = M_RR / M_RR.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(M_RR.dtype).tiny)
    M_RR = M_RR + torch.eye(M_RR.shape[-1], dtype=M_RR.dtype, device=M_RR.device)
    for _ in range(SQUARINGS):
        M_RR = M_RR @ M_RR
        M_RR = M_RR / M_RR.amax((-2, -1), keepdim=True)
    # the power's smallest entry on the diagonal is 2 ** -(2 ** SQUARINGS) of its largest: no sum is zero
    return M_RR.sum(-2).to(At_RR), M_RR.sum(-1).to(At_RR)


def _double(lipschitz_R: Tensor | float) -> Tensor | float:
    return lipschitz_R.double() if isinstance(lipschitz_R, Tensor) else lipschitz_R
