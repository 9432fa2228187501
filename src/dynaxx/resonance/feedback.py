"""The matrix by which messages act on messages, cut where the loop is to be certified.

    Gᵀ = γ α s · (V_lkᵀ U_kj)ᵀ,    γ = min(1, κ_max / κ) with `stability="certified"`, else 1

Shape suffixes: R message channels.
"""

import torch
from torch import Tensor, nn

from dynaxx.resonance.bottleneck import Bottleneck
from dynaxx.resonance.config import ResonanceConfig
from dynaxx.resonance.couplings import Couplings
from dynaxx.resonance.gates import G_MAX
from dynaxx.resonance.stability import Stability, contraction_bound, stability_of


class Feedback(nn.Module):
    """Gᵀ (R, R) of the couplings as they stand; γ is kept for inference, where the parameters stand still."""

    certified_gain: Tensor

    def __init__(self, config: ResonanceConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("certified_gain", torch.tensor(1.0))

    def forward(self, couplings: Couplings, phi: Bottleneck, strength: Tensor) -> Tensor:
        """Gᵀ (R, R)."""
        Gt_RR = couplings.feedback(self.config.feedback * strength)
        if self.config.stability != "certified":
            return Gt_RR
        # a loop that may be trained is certified in every pass, whatever mode its user left it in
        learning = self.training or torch.is_grad_enabled()
        return Gt_RR * (self._certify(Gt_RR, phi) if learning else self.certified_gain)

    @torch.no_grad()
    def settle(self, couplings: Couplings, phi: Bottleneck, strength: Tensor) -> None:
        """Bring γ up to the parameters as they now are, for passes without gradients."""
        if self.config.stability == "certified":
            self._certify(couplings.feedback(self.config.feedback * strength), phi)

    def stability(self, couplings: Couplings, phi: Bottleneck, strength: Tensor) -> Stability:
        """κ of the loop; see `stability`."""
        return stability_of(self(couplings, phi, strength), self._stretch(phi), self.config.damping)

    def _certify(self, Gt_RR: Tensor, phi: Bottleneck) -> Tensor:
        kappa = contraction_bound(Gt_RR.double(), self._stretch(phi))
        gain = (self.config.kappa_max / kappa.clamp_min(self.config.kappa_max)).to(Gt_RR)
        self.certified_gain.copy_(gain.detach())
        return gain

    def _stretch(self, phi: Bottleneck) -> Tensor | float:
        return G_MAX[self.config.gate] * phi.stretch()
