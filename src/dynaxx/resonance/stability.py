"""Does the loop contract? The bound κ of DESIGN §2 and what follows from it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx.resonance.errors import ResonanceError


@dataclass(frozen=True)
class Stability:
    """The bound on the loop's Jacobian, and what it certifies.

    Attributes:
        kappa: κ = Lip(act) · g_max · (1 + ‖D‖) · ‖G‖₂.
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
def contraction(Gt_RR: Tensor, phi_lipschitz: float, g_max: float, damping: float) -> Stability:
    """κ from the message matrix by an exact SVD in float64; a Rayleigh quotient would lie on a non-normal matrix."""
    norm = float(torch.linalg.matrix_norm(Gt_RR.detach().double().cpu(), ord=2))
    kappa = phi_lipschitz * g_max * norm
    return Stability(kappa, math.isfinite(kappa) and kappa < 1.0, damping)
