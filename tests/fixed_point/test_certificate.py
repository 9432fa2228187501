"""The cut of the return leg: what it keeps, what it certifies, and what it costs."""

import pytest
import torch
from hypothesis import given, strategies as st

from dynaxx.fixed_point.certificate import MARGIN, Certificate, block_norms, certified_scales, kappa_of_blocks
from dynaxx.fixed_point.contraction import contraction_bound
from dynaxx.resonance import live_pairs
from dynaxx.resonance.couplings import Couplings

RANK = 3


def feedback(taps: int, scale: float, seed: int = 0) -> tuple[Couplings, torch.Tensor]:
    """Random couplings between all taps, and their Gᵀ."""
    torch.manual_seed(seed)
    couplings = Couplings([4] * taps, live_pairs(taps, 4, [taps - 1]), RANK).double()
    for U in couplings.U:
        torch.nn.init.normal_(U, std=scale)
    return couplings, couplings.dense(couplings.feedback_matrix(1.0)).detach()


def scales(
    couplings: Couplings, Gt: torch.Tensor, lipschitz: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    reads, returns = couplings.dependences()
    return certified_scales(Gt, lipschitz, reads.nonzero().T, returns, 0.9)


def returning(couplings: Couplings) -> torch.Tensor:
    """Whether an entry of Gᵀ is of the return leg, (R, R)."""
    returns = couplings.dependences()[1]
    return returns.repeat_interleave(RANK, 0).repeat_interleave(RANK, 1)


def norms(couplings: Couplings, Gt: torch.Tensor) -> torch.Tensor:
    return block_norms(Gt, couplings.dependences()[0].nonzero().T, len(couplings.pairs))


def cut(couplings: Couplings, Gt: torch.Tensor, gain: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return gain * Gt * torch.where(returning(couplings), share, 1.0)


@given(taps=st.integers(2, 5), seed=st.integers(0, 10**6))
def test_without_the_return_leg_no_message_goes_round_in_a_circle(taps, seed):
    couplings, Gt = feedback(taps, 1.0, seed)
    onward = cut(couplings, Gt, torch.tensor(1.0), torch.tensor(0.0))
    assert torch.linalg.matrix_power(onward, len(couplings.pairs)).abs().max() == 0.0
    if taps == 2:
        assert not onward[returning(couplings)].any()


@given(taps=st.integers(2, 5), scale=st.floats(0.01, 30.0), seed=st.integers(0, 10**6))
def test_what_is_cut_contracts_and_no_more_is_cut_than_that_takes(taps, scale, seed):
    couplings, Gt = feedback(taps, scale, seed)
    lipschitz = 1.0 + torch.rand(len(Gt), dtype=torch.float64)
    gain, share = scales(couplings, Gt, lipschitz)
    assert 0.0 < gain <= 1.0
    assert 0.0 <= share <= 1.0
    if taps <= 3 and scale <= 2.0:  # stronger ones than training makes
        assert gain == 1.0
        assert share > 0.0
    assert contraction_bound(cut(couplings, Gt, gain, share), lipschitz, RANK) <= 0.9 * (1 + 1e-12)
    if 0.0 < share < 1.0:
        more = norms(couplings, cut(couplings, Gt, gain, 1.01 * share) * lipschitz)
        assert kappa_of_blocks(more) > 0.9 * (1 - MARGIN)


def test_block_norms_are_those_of_the_blocks():
    couplings, Gt = feedback(3, 1.0)
    M = norms(couplings, Gt)
    for j in range(len(couplings.pairs)):
        for i in range(len(couplings.pairs)):
            block = Gt[j * RANK : (j + 1) * RANK, i * RANK : (i + 1) * RANK]
            assert M[j, i] == pytest.approx(float(torch.linalg.matrix_norm(block, ord=2)), abs=1e-12)


def test_the_gradient_of_the_share_is_that_of_its_differences():
    couplings, Gt = feedback(3, 0.7)
    Gt.requires_grad_()
    _, share = scales(couplings, Gt, 1.0)
    assert 0.0 < share < 1.0
    (gradient,) = torch.autograd.grad(share, Gt)
    direction = torch.randn_like(Gt)
    step = 0.01  # the share is looked for on a grid that is fine against this
    ends = [scales(couplings, Gt.detach() + sign * step * direction, 1.0)[1] for sign in (1, -1)]
    assert float((gradient * direction).sum()) == pytest.approx(float((ends[0] - ends[1]) / (2 * step)), rel=0.1)


def test_couplings_without_end_are_switched_off():
    couplings, Gt = feedback(3, 1.0)
    gain, share = scales(couplings, Gt * 1e12, 1.0)
    assert contraction_bound(cut(couplings, Gt * 1e12, gain, share), 1.0, RANK) <= 0.9
    assert scales(couplings, Gt * float("inf"), 1.0) == (0.0, 0.0)


def test_a_single_step_has_nothing_to_cut():
    couplings = Couplings([4] * 3, live_pairs(3, 1, [2]), RANK).double()
    gain, share = scales(couplings, couplings.dense(couplings.feedback_matrix(1.0)).detach(), 1.0)
    assert (gain, share) == (1.0, 1.0)


def test_in_inference_the_scales_are_those_of_the_last_update():
    couplings, Gt = feedback(3, 2.0)
    certificate = Certificate(*couplings.dependences(), 0.9).double()
    trained = certificate(Gt, 1.0).detach()
    with torch.no_grad():
        assert torch.equal(certificate.eval()(0 * Gt, 1.0), trained)
        assert torch.equal(certificate.update(0 * Gt, 1.0), torch.ones_like(trained))
