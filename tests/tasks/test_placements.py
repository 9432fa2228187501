"""The AUROC by placements: against pairs counted one by one, its scatter against DeLong and a naive bootstrap."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.metrics import roc_auc_score

from dynaxx.evaluation.statistics.paired import paired_bootstrap
from dynaxx.tasks import Metric
from dynaxx.tasks.placements import placement_influence, placements


def drawn(seed: int, positives: int, negatives: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    positive = np.array([True] * positives + [False] * negatives)
    evidence = generator.normal(size=len(positive)) + positive
    return torch.from_numpy(evidence.round(1)), torch.from_numpy(positive)  # with ties


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 12), st.integers(1, 12))
def test_placements_are_pairs_counted_one_by_one(seed, positives, negatives):
    evidence, positive = drawn(seed, positives, negatives)
    found = placements(evidence, positive)
    for n, value in enumerate(found.tolist()):
        sign = 1 if positive[n] else -1
        others = [float(sign * (evidence[n] - evidence[m])) for m in range(len(positive)) if positive[m] != positive[n]]
        assert value == pytest.approx(sum((d > 0) + 0.5 * (d == 0) for d in others) / len(others))
    area = roc_auc_score(positive.numpy(), evidence.numpy())
    assert float(found.mean()) == pytest.approx(area)
    influence = placement_influence(found, positive)
    assert float(influence.mean()) == pytest.approx(area)
    # DeLong's variance, with sums of squares over n instead of n - 1
    delong = (
        float(found[positive].var(correction=0)) / positives + float(found[~positive].var(correction=0)) / negatives
    )
    assert float((influence - area).square().sum()) / len(positive) ** 2 == pytest.approx(delong)


def test_the_interval_is_as_wide_as_that_of_areas_computed_anew():
    """The placements' own interval would be half as wide."""
    evidence, positive = drawn(0, 120, 120)
    placed = placements(evidence, positive)
    found = paired_bootstrap(
        placement_influence(placed, positive).numpy()[None], np.zeros((1, 240)), Metric("auroc"), resamples=4000
    )
    generator = np.random.default_rng(1)
    areas = []
    for _ in range(600):
        chosen = torch.from_numpy(generator.integers(0, 240, 240))
        areas.append(float(placements(evidence[chosen], positive[chosen]).mean()))
    low, high = np.percentile(areas, [2.5, 97.5])
    assert found.high - found.low == pytest.approx(high - low, rel=0.15)
    plain = paired_bootstrap(placed.numpy()[None], np.zeros((1, 240)), Metric("auroc"), resamples=2000)
    assert (plain.high - plain.low) / (high - low) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize(("side", "word"), [(True, "none is negative"), (False, "none is positive")])
def test_one_side_alone_has_no_area(side, word):
    with pytest.raises(ValueError, match=word):
        placements(torch.zeros(3), torch.full((3,), side))
