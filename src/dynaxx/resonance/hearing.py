"""What messages hear of each other, p + G c, without multiplying by the zeros of G.

C_lk reads tap k alone, so it hears the messages into tap k and no others: of the blocks of G, couplings by couplings,
only one in as many as there are taps holds anything. Where all taps are coupled with all others, what hears tap k is as
much for every k, and so is what speaks to it: one batched product of the blocks that count does it.

Shape suffixes: B batch, P positions of the grid, X = B P, R message channels, N couplings, K taps, M couplings into a
tap, S = M r message channels into (and out of) a tap, r rank.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Hearing = Callable[[Tensor, Tensor], Tensor]
"""From p and c, (B, P, R) each, to p + G c."""


def hearing(Gt_RR: Tensor, into_KM: Tensor | None, rank: int) -> Hearing:
    """The function p, c ↦ p + G c.

    Args:
        Gt_RR: Gᵀ, messages grouped by source.
        into_KM: numbers of the couplings into each tap; None where some taps are not coupled, and G is taken as it is.
    """
    if into_KM is None:
        return lambda p_BPR, c_BPR: torch.addmm(p_BPR.flatten(0, 1), c_BPR.flatten(0, 1), Gt_RR).view_as(p_BPR)
    taps, into = into_KM.shape
    into_N = into_KM.flatten()
    by_tap = Gt_RR.view(-1, rank, len(Gt_RR)).index_select(0, into_N).view(taps, into * rank, taps, into * rank)
    blocks_KSS = by_tap.diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()

    def hear(p_BPR: Tensor, c_BPR: Tensor) -> Tensor:
        p_KXS = p_BPR.reshape(-1, taps, into * rank).transpose(0, 1)
        c_KXS = c_BPR.reshape(-1, taps * into, rank).index_select(1, into_N).view(-1, taps, into * rank).transpose(0, 1)
        return torch.baddbmm(p_KXS, c_KXS, blocks_KSS).transpose(0, 1).reshape(p_BPR.shape)

    return hear
