"""Feedback between messages, block by block, against the whole matrix and against the formula."""

import pytest
import torch

from dynaxx.resonance import live_pairs
from dynaxx.resonance.anchors import finite
from dynaxx.resonance.couplings import Couplings


def made(taps: int, T: int, outputs: list[int], rank: int = 3) -> Couplings:
    couplings = Couplings([5, 7, 4, 6][:taps], live_pairs(taps, T, outputs), rank).double()
    for U in couplings.U:
        torch.nn.init.normal_(U) if U.numel() else None
    return couplings


CASES = [(2, 5, [1]), (3, 5, [2]), (4, 5, [3]), (3, 1, [2]), (4, 1, [1, 3])]
"""Taps, T, and the output taps; at T=1 not all taps are coupled with all others."""


@pytest.mark.parametrize(("taps", "T", "outputs"), CASES)
def test_only_the_blocks_that_count_give_what_the_whole_matrix_gives(taps, T, outputs):
    couplings = made(taps, T, outputs)
    assert couplings.complete == (T > 1)
    Gt = couplings.feedback_matrix(0.7).detach()
    p, c = torch.randn(2, 2, 9, len(couplings.b), dtype=torch.float64)
    torch.testing.assert_close(couplings.feed_back(p, c, Gt), p + c @ couplings.dense(Gt))


@pytest.mark.parametrize(("taps", "T", "outputs"), CASES)
def test_the_matrix_has_its_formula_in_every_block(taps, T, outputs):
    couplings = made(taps, T, outputs)
    Gt = couplings.dense(couplings.feedback_matrix(0.7)).unflatten(0, (-1, 3)).unflatten(2, (-1, 3))
    reads, returns = couplings.dependences()
    for n, read in enumerate(couplings.pairs):
        for m, reader in enumerate(couplings.pairs):
            assert reads[n, m] == (read.target == reader.source)
            assert returns[n, m] == (reads[n, m] and read.target > read.source and reader.target < reader.source)
            U, V = couplings.of(read)[1], couplings.of(reader)[0]
            expected = 0.7 * U @ V if reads[n, m] else torch.zeros(3, 3)
            torch.testing.assert_close(Gt[n, :, m], expected.to(torch.float64))


@pytest.mark.parametrize(("taps", "T", "outputs"), CASES)
def test_grouped_matrices_read_and_write_as_each_coupling_does(taps, T, outputs):
    couplings = made(taps, T, outputs)
    y = [torch.randn(2, 9, width, dtype=torch.float64) for width in couplings.channels]
    torch.nn.init.normal_(couplings.b)
    p = couplings.project(y)
    matrices = {pair: couplings.of(pair) for pair in couplings.pairs}
    expected = [y[pair.source] @ V + b for pair, (V, _, b) in matrices.items()]
    torch.testing.assert_close(p, torch.cat(expected, dim=2))
    for tap in range(taps):
        written = couplings.incoming(p, tap) @ couplings.writer(tap)
        into = [
            p_lk @ matrices[pair][1] for pair, p_lk in zip(couplings.pairs, expected, strict=True) if pair[0] == tap
        ]
        torch.testing.assert_close(written, sum(into, start=torch.zeros_like(y[tap])))


@pytest.mark.parametrize("kind", ["learned", "random", "identity"])
def test_a_seed_draws_the_couplings_one_by_one(kind):
    """So documented figures stay: the same seed starts from the same matrices, whatever the grouping."""
    channels, pairs = [5, 7, 4], live_pairs(3, 3, [2])
    torch.manual_seed(5)
    couplings = Couplings(channels, pairs, 3, kind)
    torch.manual_seed(5)
    drawn = [torch.randn(channels[pair.source], couplings.rank) / channels[pair.source] ** 0.5 for pair in pairs]
    random = [torch.empty(couplings.rank, channels[pair.target]).normal_(std=couplings.rank**-0.5) for pair in pairs]
    if couplings.factor is not None:
        torch.nn.init.ones_(couplings.factor)
    for pair, V, U in zip(pairs, drawn, random, strict=True):
        own_V, own_U, _ = couplings.of(pair)
        assert torch.equal(own_V, torch.eye(*V.shape) if kind == "identity" else V)
        expected = {"learned": torch.zeros_like(U), "random": U, "identity": torch.eye(*U.shape)}[kind]
        assert torch.equal(own_U, expected)


def test_gradients_through_the_blocks_are_those_through_the_matrix():
    couplings = made(3, 5, [2])
    p, c = torch.randn(2, 2, 9, len(couplings.b), dtype=torch.float64, requires_grad=True).unbind()

    def gradients(blocks: bool) -> tuple[torch.Tensor, ...]:
        Gt = couplings.feedback_matrix(1.0)
        argument = couplings.feed_back(p, c, Gt) if blocks else p + c @ couplings.dense(Gt)
        return torch.autograd.grad(argument.square().sum(), [p, c, *couplings.U, *couplings.V])

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
