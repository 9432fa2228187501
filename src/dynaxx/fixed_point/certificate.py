"""The certificate: feedback is scaled down until the loop is certain to contract (`stability="certified"`).

Order the couplings. First come backward couplings, from a later layer to an earlier layer, deepest source first. Then
come forward couplings. Every coupling depends only on couplings before it, with one exception: backward couplings also
depend on forward couplings. These dependences, the return leg, are the only part of `G` that closes a cycle. So only
the return leg is scaled, by the share γ:

    A(γ) = g_max · diag(lipschitz) · (G_onward + γ G_return),    M(γ)_ij = ‖A(γ)_ij‖₂   for every two couplings i, j

With D constant on each coupling, ‖D A D⁻¹‖₂ ≤ ‖D M D⁻¹‖₂, and `M` is small and non-negative, so the best D for M is
known (see `contraction`). The acyclic part of G is nilpotent: a diagonal scaling makes its norm arbitrarily small. So
some γ > 0 exists for couplings of any strength. κ(γ) = ‖D M(γ) D⁻¹‖₂ grows with γ; the certificate uses the largest γ ≤
1 with κ(γ) ≤ κ_max.

Shape suffixes: R message channels, N couplings, S shares that are tried, L dependent pairs of couplings.
"""

import torch
from torch import Tensor, nn

from dynaxx.fixed_point.contraction import perron_scaling, perron_vectors, scaled

MARGIN = 1e-6
"""Relative margin below κ_max, which covers rounding to single precision."""
SMALLEST, TRIALS, ROUNDS = 1e-9, 64, 3
"""`TRIALS` shares from `SMALLEST` to 1 are tried, then as many between the two around γ; γ < `SMALLEST` becomes 0."""


class Certificate(nn.Module):
    """The scales that keep κ ≤ κ_max, cached for inference, where the parameters do not change.

    Args:
        depends_NN: [j, i]: whether coupling i depends on coupling j.
        returns_NN: [j, i]: whether this dependence belongs to the return leg; without the return leg no cycle exists.
        kappa_max: limit of κ, in (0, 1).

    Attributes:
        certified_gain: the scale of all of G, and the share γ of its return leg.
    """

    certified_gain: Tensor
    depends_2L: Tensor
    returns_NN: Tensor

    def __init__(self, depends_NN: Tensor, returns_NN: Tensor, kappa_max: float) -> None:
        super().__init__()
        self.kappa_max = kappa_max
        self.register_buffer("certified_gain", torch.ones(2))
        # where the true entries are, made once: a compiled graph has no shapes that depend on data
        self.register_buffer("depends_2L", depends_NN.nonzero().T, persistent=False)
        self.register_buffer("returns_NN", returns_NN, persistent=False)

    def forward(self, Gt_RR: Tensor, lipschitz_R: Tensor | float) -> Tensor:
        """The pair (gain, γ) for Gᵀ; computed in training and wherever gradients flow, else taken from the cache."""
        learning = self.training or torch.is_grad_enabled()
        return self.update(Gt_RR, lipschitz_R) if learning else self.certified_gain

    def update(self, Gt_RR: Tensor, lipschitz_R: Tensor | float) -> Tensor:
        """Compute (gain, γ) for the current Gᵀ, and cache both."""
        lipschitz_R = lipschitz_R.double() if isinstance(lipschitz_R, Tensor) else lipschitz_R
        scales = certified_scales(Gt_RR.double(), lipschitz_R, self.depends_2L, self.returns_NN, self.kappa_max)
        gain = torch.stack(scales).to(Gt_RR)
        self.certified_gain.copy_(gain.detach())
        return gain


def certified_scales(
    Gt_RR: Tensor, lipschitz_R: Tensor | float, depends_2L: Tensor, returns_NN: Tensor, kappa_max: float
) -> tuple[Tensor, Tensor]:
    """The scale of all of `G`, and the share γ of its return leg, so that κ ≤ κ_max.

    >>> Gt = torch.tensor([[0.0, 2.0], [2.0, 0.0]]).double()  # two couplings that read each other
    >>> gain, share = certified_scales(Gt, 1.0, Gt.nonzero().T, torch.tensor([[False, True], [False, False]]), 0.9)
    >>> float(gain), round(float(share), 4)
    (1.0, 0.2025)

    The scale of G is below 1 only for couplings so strong that numbers overflow. The gradient of γ follows from
    κ(γ) = κ_max by the implicit function theorem.

    Args:
        Gt_RR: Gᵀ. If an entry is not finite, both scales are 0.
        lipschitz_R: Lipschitz constant of each channel, g_max included.
        depends_2L: (coupling j that is read, coupling i that depends on it); all have the same number of channels.
        returns_NN: the dependences of the return leg, see `Certificate`.
        kappa_max: limit of κ.
    """
    At_RR = Gt_RR * lipschitz_R
    finite = torch.isfinite(At_RR.detach().square().sum())
    M_NN = block_norms(torch.where(finite, At_RR, 0.0), depends_2L, len(returns_NN))
    return_NN = M_NN * returns_NN.to(M_NN)
    onward_NN = M_NN - return_NN
    most = kappa_max * (1.0 - MARGIN)
    with torch.no_grad():
        share = _largest_share(onward_NN, return_NN, most)
        cut_NN = onward_NN + share * return_NN
        gain = torch.where(finite, most / kappa_of_blocks(cut_NN).clamp_min(most), 0.0)
        inside = (share > 0.0) & (share < 1.0)
        left_N, right_N = perron_vectors(cut_NN)
        slope = (left_N @ return_NN @ right_N).clamp_min(torch.finfo(M_NN.dtype).tiny)
    kappa = left_N @ (onward_NN + share * return_NN) @ right_N  # up to a constant factor, which slope has as well
    return gain, torch.where(finite, share - torch.where(inside, (kappa - kappa.detach()) / slope, 0.0), 0.0)


def block_norms(At_RR: Tensor, depends_2L: Tensor, couplings: int) -> Tensor:
    """Mᵀ (N, N): the spectral norm of every block [j, i] of Aᵀ; 0 where coupling i does not depend on j."""
    rank = len(At_RR) // couplings
    source_L, reader_L = depends_2L
    blocks_LRR = At_RR.unflatten(1, (-1, rank)).unflatten(0, (-1, rank))[source_L, :, reader_L]
    norms_L = torch.linalg.matrix_norm(blocks_LRR, ord=2)
    return At_RR.new_zeros(couplings, couplings).index_put((source_L, reader_L), norms_L)


def kappa_of_blocks(Mt_NN: Tensor) -> Tensor:
    """κ = ‖D M D⁻¹‖₂ of matrices of norms (…, N, N)."""
    return torch.linalg.matrix_norm(scaled(Mt_NN, perron_scaling(Mt_NN)), ord=2)


def _largest_share(onward_NN: Tensor, return_NN: Tensor, most: float) -> Tensor:
    low, high = torch.zeros_like(onward_NN[0, 0]), torch.ones_like(onward_NN[0, 0])
    steps_S = torch.linspace(0.0, 1.0, TRIALS, dtype=low.dtype, device=low.device)
    for _ in range(ROUNDS):
        floor = low.clamp_min(SMALLEST)
        shares_S = floor * (high / floor) ** steps_S
        kappa_S = kappa_of_blocks(onward_NN + shares_S[:, None, None] * return_NN)
        fits_S = (kappa_S <= most).cumprod(0)
        low, high = torch.maximum(low, (fits_S * shares_S).amax()), torch.where(fits_S > 0, 1.0, shares_S).amin()
    return low
