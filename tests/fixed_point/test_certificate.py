"""The cut of the return leg: what it keeps, what it certifies, and what it costs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynaxx.fixed_point.certificate import MARGIN, block_norms, gains, kappa_of_blocks, returning
from dynaxx.fixed_point.contraction import contraction_bound
from dynaxx.resonance.couplings import Couplings
from dynaxx.resonance.topology import live_pairs

RANK = 3


def feedback(taps: int, scale: float, seed: int = 0) -> tuple[Couplings, torch.Tensor]:
    """Random couplings between all taps, and their Gᵀ."""
    torch.manual_seed(seed)
    couplings = Couplings([4] * taps, live_pairs(taps, 4, [taps - 1]), RANK).double()
    for U in couplings.U:
        torch.nn.init.normal_(U, std=scale)
    return couplings, couplings.feedback(1.0).detach()


def cut(couplings: Couplings, Gt: torch.Tensor, gain: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return gain * Gt * torch.where(returning(couplings.pairs, RANK), share, 1.0)


@given(taps=st.integers(2, 5), seed=st.integers(0, 10**6))
def test_without_the_return_leg_no_message_goes_round_in_a_circle(taps, seed):
    couplings, Gt = feedback(taps, 1.0, seed)
    onward = cut(couplings, Gt, torch.tensor(1.0), torch.tensor(0.0))
    assert torch.linalg.matrix_power(onward, len(couplings.pairs)).abs().max() == 0.0
    if taps == 2:
        assert not onward[returning(couplings.pairs, RANK)].any()


@given(taps=st.integers(2, 5), scale=st.floats(0.01, 30.0), seed=st.integers(0, 10**6))
def test_what_is_cut_contracts_and_no_more_is_cut_than_that_takes(taps, scale, seed):
    couplings, Gt = feedback(taps, scale, seed)
    stretch = 1.0 + torch.rand(len(Gt), dtype=torch.float64)
    gain, share = gains(Gt, stretch, couplings.pairs, 0.9)
    assert 0.0 < gain <= 1.0
    assert 0.0 <= share <= 1.0
    if taps <= 3 and scale <= 2.0:  # stronger ones than training makes
        assert gain == 1.0
        assert share > 0.0
    assert contraction_bound(cut(couplings, Gt, gain, share), stretch, RANK) <= 0.9 * (1 + 1e-12)
    if 0.0 < share < 1.0:
        more = block_norms(cut(couplings, Gt, gain, 1.01 * share) * stretch, couplings.pairs)
        assert kappa_of_blocks(more) > 0.9 * (1 - MARGIN)


def test_block_norms_are_those_of_the_blocks():
    couplings, Gt = feedback(3, 1.0)
    M = block_norms(Gt, couplings.pairs)
    for j in range(len(couplings.pairs)):
        for i in range(len(couplings.pairs)):
            block = Gt[j * RANK : (j + 1) * RANK, i * RANK : (i + 1) * RANK]
            assert M[j, i] == pytest.approx(float(torch.linalg.matrix_norm(block, ord=2)), abs=1e-12)


def test_the_gradient_of_the_share_is_that_of_its_differences():
    couplings, Gt = feedback(3, 0.7)
    Gt.requires_grad_()
    _, share = gains(Gt, 1.0, couplings.pairs, 0.9)
    assert 0.0 < share < 1.0
    (gradient,) = torch.autograd.grad(share, Gt)
    direction = torch.randn_like(Gt)
    step = 0.01  # the share is looked for on a grid that is fine against this
    ends = [gains(Gt.detach() + sign * step * direction, 1.0, couplings.pairs, 0.9)[1] for sign in (1, -1)]
    assert float((gradient * direction).sum()) == pytest.approx(float((ends[0] - ends[1]) / (2 * step)), rel=0.1)


def test_couplings_without_end_are_silenced():
    couplings, Gt = feedback(3, 1.0)
    gain, share = gains(Gt * 1e12, 1.0, couplings.pairs, 0.9)
    assert contraction_bound(cut(couplings, Gt * 1e12, gain, share), 1.0, RANK) <= 0.9
    assert gains(Gt * float("inf"), 1.0, couplings.pairs, 0.9) == (0.0, 0.0)


def test_a_single_step_has_nothing_to_cut():
    pairs = live_pairs(3, 1, [2])
    gain, share = gains(torch.zeros(2 * RANK, 2 * RANK, dtype=torch.float64), 1.0, pairs, 0.9)
    assert (gain, share) == (1.0, 1.0)
