"""Anchors are standardised by what torch says their mean and deviation are."""

import pytest
import torch
from hypothesis import given, strategies as st

from dynaxx import ResonanceError, ResonanceWarning
from dynaxx.backbone import moments
from dynaxx.grid import Standardise


@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    shift=st.floats(-100, 100),
)
def test_equals_torch_over_all_samples_and_positions(seed, sizes, shift):
    torch.manual_seed(seed)
    batches = [
        [torch.randn(n, 6, 3, dtype=torch.float64) + shift, torch.randn(n, 6, 2, dtype=torch.float64)] for n in sizes
    ]
    statistics = Standardise([3, 2]).double()
    statistics.set(moments(batches))
    for tap in (0, 1):
        joined = torch.cat([batch[tap] for batch in batches]).flatten(0, 1)
        assert torch.allclose(statistics.mean(tap), joined.mean(0))
        assert torch.allclose(statistics.std(tap), joined.std(0, unbiased=False), rtol=1e-6)
    y = statistics(torch.cat([batch[0] for batch in batches]), 0).flatten(0, 1)
    assert torch.allclose(y.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6)


def test_non_finite_samples_are_left_out_in_all_taps():
    good = [torch.randn(4, 6, 3), torch.randn(4, 6, 2)]
    bad = [good[0].clone(), good[1].clone()]
    bad[0][2, 0, 0] = float("nan")
    one, other = Standardise([3, 2]), Standardise([3, 2])
    with pytest.warns(ResonanceWarning, match="1 of 4 samples are not finite"):
        one.set(moments([bad]))
    other.set(moments([[part[[0, 1, 3]] for part in good]]))
    assert torch.equal(one.mean(1), other.mean(1))
    with pytest.raises(ResonanceError, match="no finite sample"):
        one.set(moments([[part * float("nan") for part in good]]))


def test_a_channel_that_never_varies_is_centred_and_not_blown_up():
    statistics = Standardise([2])
    statistics.set(moments([[torch.tensor([7.0, 0.0]).expand(5, 6, 2)]]))
    assert torch.equal(statistics.std(0), torch.ones(2))
    assert torch.equal(statistics(torch.tensor([[[7.0, 0.0]]]), 0), torch.zeros(1, 1, 2))


def test_a_channel_that_never_varies_has_the_scale_of_its_tap():
    torch.manual_seed(0)
    anchors = torch.randn(400, 9, 3) * torch.tensor([1e-3, 2e-3, 0.0])
    statistics = Standardise([3])
    statistics.set(moments([[anchors]]))
    usual = anchors[:, :, :2].flatten(0, 1).std(0, correction=0)
    assert torch.allclose(statistics.std(0)[:2], usual, rtol=1e-4)
    assert torch.allclose(statistics.std(0)[2], usual.square().mean().sqrt(), rtol=1e-4)
