"""What messages hear of each other, block by block, against the whole matrix and against the formula."""

import pytest
import torch

from dynaxx.resonance.anchors import finite
from dynaxx.resonance.couplings import Couplings
from dynaxx.resonance.topology import live_pairs


def made(taps: int, T: int, seen: list[int], rank: int = 3) -> Couplings:
    couplings = Couplings([5, 7, 4, 6][:taps], live_pairs(taps, T, seen), rank).double()
    for U in couplings.U:
        torch.nn.init.normal_(U)
    return couplings


CASES = [(2, 5, [1]), (3, 5, [2]), (4, 5, [3]), (3, 1, [2]), (4, 1, [1, 3])]
"""Taps, T, and the taps that the output reads; at T=1 not all taps are coupled with all others."""


@pytest.mark.parametrize(("taps", "T", "seen"), CASES)
def test_only_the_blocks_that_count_give_what_the_whole_matrix_gives(taps, T, seen):
    couplings = made(taps, T, seen)
    assert (couplings.into_KM is not None) == (T > 1)
    Gt_RR = couplings.feedback(0.7).detach()
    p, c = torch.randn(2, 2, 9, len(couplings.b), dtype=torch.float64)
    torch.testing.assert_close(couplings.hearing(Gt_RR)(p, c), p + c @ Gt_RR)


@pytest.mark.parametrize(("taps", "T", "seen"), CASES)
def test_the_matrix_has_its_formula_in_every_block(taps, T, seen):
    couplings = made(taps, T, seen)
    Gt = couplings.feedback(0.7).unflatten(0, (-1, 3)).unflatten(2, (-1, 3))
    for n, heard in enumerate(couplings.pairs):
        for m, hearer in enumerate(couplings.pairs):
            expected = 0.7 * couplings.U[n] @ couplings.V[m] if heard.target == hearer.source else torch.zeros(3, 3)
            torch.testing.assert_close(Gt[n, :, m], expected.to(torch.float64))


def test_gradients_through_the_blocks_are_those_through_the_matrix():
    couplings = made(3, 5, [2])
    p, c = torch.randn(2, 2, 9, len(couplings.b), dtype=torch.float64, requires_grad=True).unbind()

    def gradients(blocks: bool) -> tuple[torch.Tensor, ...]:
        Gt_RR = couplings.feedback(1.0)
        heard = couplings.hearing(Gt_RR)(p, c) if blocks else p + c @ Gt_RR
        return torch.autograd.grad(heard.square().sum(), [p, c, *couplings.U, *couplings.V])

    for ours, expected in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_sample_is_finite_if_all_of_it_is_at_every_tap(dtype):
    largest = torch.finfo(torch.float16).max  # a thousand of them do not overflow
    parts = [torch.full((5, 10, 100), largest).to(dtype), torch.zeros(5, 2, 2, dtype=dtype)]
    parts[0][1, 3, 5] = float("nan")
    parts[0][2, 0, 0], parts[0][2, 0, 1] = float("inf"), float("-inf")
    parts[1][3, 1, 1] = float("-inf")
    assert finite(parts).tolist() == [True, False, False, False, True]
