"""How much of a loop's feedback is certain to contract: the cut that `stability="certified"` makes.

Put the messages in this order: those that run back, from a later tap to an earlier one, the deepest source first; then
those that run forward. Each hears messages before it alone, but for one thing: what runs back hears what runs forward.
That is the return leg, and the only part of `G` that closes a circle. So it alone is cut, to the share γ:

    A(γ) = g_max · diag(stretch) · (G_onward + γ G_return),    M(γ)_ij = ‖A(γ)_ij‖₂   of every two couplings i, j

With D constant on each coupling, ‖D A D⁻¹‖₂ ≤ ‖D M D⁻¹‖₂, and `M` is small and non-negative: its best D is known (see
`stability`). Without circles D brings every norm down to nothing, so however strong the couplings are, some γ > 0 will
do; κ(γ) = ‖D M(γ) D⁻¹‖₂ grows with γ, and the largest γ ≤ 1 that keeps it at κ_max is taken. One gain on all of `G` has
to cut the way forward as well.

Shape suffixes: R message channels, N couplings, S shares that are tried, L pairs of couplings of which one hears the
other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dynaxx.fixed_point.contraction import perron_scaling, perron_vectors, scaled
from dynaxx.resonance.topology import Pair

MARGIN = 1e-6
"""Below κ_max by this part of it, for what rounding to single precision may add."""
SMALLEST, TRIALS, ROUNDS = 1e-9, 64, 3
"""Shares from `SMALLEST` to 1 are tried, `TRIALS` at once and again between the two that enclose γ; below, γ is 0."""


def returning(pairs: Sequence[Pair], rank: int) -> Tensor:
    """Which entries of Gᵀ are of the return leg, (R, R): messages that run forward, heard by such as run back."""
    back_N = torch.tensor([pair.target < pair.source for pair in pairs]).repeat_interleave(rank)
    return ~back_N[:, None] & back_N


def gains(Gt_RR: Tensor, stretch_R: Tensor | float, pairs: Sequence[Pair], kappa_max: float) -> tuple[Tensor, Tensor]:
    """The gain of all of `G` and that of its return leg besides, so that κ ≤ κ_max.

    The first is 1 but where couplings are so strong that numbers end. The second is γ; its gradient is that of κ(γ) =
    κ_max, by the implicit function theorem.

    Args:
        Gt_RR: Gᵀ; where a number in it is not finite, both gains are 0.
        stretch_R: of each channel, g_max included.
        pairs: the couplings, as many channels each.
    """
    At_RR = Gt_RR * stretch_R
    finite = torch.isfinite(At_RR.detach().square().sum())
    M_NN = block_norms(torch.where(finite, At_RR, 0.0), pairs)
    return_NN = M_NN * returning(pairs, 1).to(M_NN)
    onward_NN = M_NN - return_NN
    most = kappa_max * (1.0 - MARGIN)
    with torch.no_grad():
        share = _largest_share(onward_NN, return_NN, most)
        cut_NN = onward_NN + share * return_NN
        gain = torch.where(finite, most / kappa_of_blocks(cut_NN).clamp_min(most), 0.0)
        inside = (share > 0.0) & (share < 1.0)
        left_N, right_N = perron_vectors(cut_NN)
        slope = (left_N @ return_NN @ right_N).clamp_min(torch.finfo(M_NN.dtype).tiny)
    kappa = left_N @ (onward_NN + share * return_NN) @ right_N  # times a constant, which slope has as well
    return gain, torch.where(finite, share - torch.where(inside, (kappa - kappa.detach()) / slope, 0.0), 0.0)


def block_norms(At_RR: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Mᵀ (N, N): the spectral norm of every block of Aᵀ; rows are heard, columns hear."""
    rank = len(At_RR) // len(pairs)
    heard_L, hearing_L = (
        torch.tensor(
            [(j, i) for i, at in enumerate(pairs) for j, into in enumerate(pairs) if into.target == at.source],
            dtype=torch.long,
        )
        .reshape(-1, 2)
        .T
    )
    blocks_LRR = At_RR.unflatten(1, (-1, rank)).unflatten(0, (-1, rank))[heard_L, :, hearing_L]
    norms_L = torch.linalg.matrix_norm(blocks_LRR, ord=2)
    return At_RR.new_zeros(len(pairs), len(pairs)).index_put((heard_L, hearing_L), norms_L)


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
