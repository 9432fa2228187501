"""The matrix by which messages act on messages, cut where the loop is to be certified.

    Gᵀ = α s · (V_lkᵀ U_kj)ᵀ,    with `stability="certified"` cut as `certificate` says

Shape suffixes: R message channels.
"""

import torch
from torch import Tensor, nn

from dynaxx.config import ResonanceConfig
from dynaxx.fixed_point.certificate import gains, returning
from dynaxx.fixed_point.contraction import Stability, stability_of
from dynaxx.resonance.bottleneck import Bottleneck
from dynaxx.resonance.couplings import Couplings
from dynaxx.resonance.gates import G_MAX


class Feedback(nn.Module):
    """Gᵀ (R, R) of the couplings as they stand; its cut is kept for inference, where the parameters stand still.

    Attributes:
        certified_gain: of all of G, and of its return leg besides: γ.
        returns_RR: which entries of Gᵀ are of the return leg.
    """

    certified_gain: Tensor
    returns_RR: Tensor

    def __init__(self, config: ResonanceConfig, couplings: Couplings) -> None:
        super().__init__()
        self.config = config
        if config.stability == "certified":
            self.register_buffer("certified_gain", torch.ones(2))
            self.register_buffer("returns_RR", returning(couplings.pairs, couplings.rank), persistent=False)

    def forward(self, couplings: Couplings, phi: Bottleneck, strength: Tensor) -> Tensor:
        """Gᵀ (R, R)."""
        Gt_RR = couplings.feedback(self.config.feedback * strength)
        if self.config.stability != "certified":
            return Gt_RR
        # a loop that may be trained is certified in every pass, whatever mode its user left it in
        learning = self.training or torch.is_grad_enabled()
        gain, share = self._certify(Gt_RR, couplings, phi) if learning else self.certified_gain
        return Gt_RR * torch.where(self.returns_RR, gain * share, gain)

    @torch.no_grad()
    def settle(self, couplings: Couplings, phi: Bottleneck, strength: Tensor) -> None:
        """Bring the cut up to the parameters as they now are, for passes without gradients."""
        if self.config.stability == "certified":
            self._certify(couplings.feedback(self.config.feedback * strength), couplings, phi)

    def stability(self, couplings: Couplings, phi: Bottleneck, strength: Tensor) -> Stability:
        """κ of the loop; see `stability`."""
        Gt_RR = self(couplings, phi, strength)
        return stability_of(Gt_RR, self._stretch(phi), self.config.damping, couplings.rank)

    def _certify(self, Gt_RR: Tensor, couplings: Couplings, phi: Bottleneck) -> Tensor:
        stretch_R = self._stretch(phi)
        stretch_R = stretch_R.double() if isinstance(stretch_R, Tensor) else stretch_R
        gain = torch.stack(gains(Gt_RR.double(), stretch_R, couplings.pairs, self.config.kappa_max)).to(Gt_RR)
        self.certified_gain.copy_(gain.detach())
        return gain

    def _stretch(self, phi: Bottleneck) -> Tensor | float:
        return G_MAX[self.config.gate] * phi.stretch()
