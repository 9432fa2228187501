"""Groups, roots and costs against plain loops."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.statistics.paired import Interval, flip_test, mcnemar, paired_bootstrap
from dynaxx.evaluation.statistics.units import Sums
from dynaxx.tasks import Metric

ACCURACY, IOU = Metric("accuracy"), Metric("iou")
RMSE, COST = Metric("rmse", higher_is_better=False, root=True), Metric("cost", higher_is_better=False)


def scores(seed: int, seeds: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    hard = generator.gamma(1.0, 1.0, samples)
    a, b = hard * generator.gamma(4.0, 0.25, (2, seeds, samples))
    return a, b


def naive_gain(a_SN: np.ndarray, b_SN: np.ndarray, drawn: list[int], metric: Metric) -> float:
    """The metric of each seed on the samples that were drawn, by loops; positive where a is better."""
    values = []
    for rows in (a_SN, b_SN):
        per_seed = [sum(float(row[n]) for n in drawn) / len(drawn) for row in rows]
        values.append(sum(v**0.5 if metric.root else v for v in per_seed) / len(per_seed))
    return values[0] - values[1] if metric.higher_is_better else values[1] - values[0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 999),
    seeds=st.integers(1, 4),
    samples=st.integers(1, 30),
    metric=st.sampled_from([IOU, RMSE, COST]),
    grouped=st.booleans(),
)
def test_gains_of_draws_of_groups_are_those_of_a_plain_loop(seed, seeds, samples, metric, grouped):
    a, b = scores(seed, seeds, samples)
    generator = np.random.default_rng(seed)
    groups = tuple(f"g{n}" for n in generator.integers(0, 5, samples)) if grouped else ()
    sums = Sums.of(a, b, metric, groups)
    names = sorted(set(groups))
    members = [[n for n in range(samples) if groups[n] == name] for name in names] or [[n] for n in range(samples)]
    assert len(sums.table_UK) == len(members)
    drawn_RU = generator.integers(0, len(members), (7, len(members)))
    expected = [naive_gain(a, b, [n for unit in drawn for n in members[unit]], metric) for drawn in drawn_RU]
    assert sums.gain(drawn_RU) == pytest.approx(expected)
    left_out = [
        naive_gain(a, b, [n for other, some in enumerate(members) if other != unit for n in some], metric)
        for unit in range(len(members) if len(members) > 1 else 0)
    ]
    assert sums.without_each == pytest.approx(left_out)


@pytest.mark.parametrize("metric", [ACCURACY, IOU, RMSE])
def test_groups_of_one_sample_each_are_no_groups(metric):
    a, b = scores(0, 3, 50)
    if metric is ACCURACY:
        a, b = a > 0.5, b > 0.6
    alone = paired_bootstrap(a, b, metric, resamples=500)
    named = paired_bootstrap(a, b, metric, tuple(f"image {n:02}" for n in range(50)), resamples=500)
    assert (named.estimate, named.low, named.high) == pytest.approx((alone.estimate, alone.low, alone.high))
    assert flip_test(a, b, metric, np.arange(50)) == flip_test(a, b, metric)


def test_a_root_is_resampled_in_groups_as_a_naive_bootstrap_does_it() -> None:
    a, b = scores(3, 4, 120)
    found = paired_bootstrap(a, b, RMSE, tuple(str(n // 3) for n in range(120)), resamples=4000)
    generator = np.random.default_rng(5)
    shifts = []
    for _ in range(1000):
        drawn = (3 * generator.integers(0, 40, 40)[:, None] + np.arange(3)).ravel()
        shifts.append(np.sqrt(b[:, drawn].mean(1)).mean() - np.sqrt(a[:, drawn].mean(1)).mean())
    low, high = np.percentile(shifts, [2.5, 97.5])
    assert found.estimate == pytest.approx(RMSE.gain(RMSE.of(a), RMSE.of(b)))
    # The kinds of interval differ by a few per cent of the width, and 1,000 draws by about 3 %.
    assert found.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.high == pytest.approx(high, abs=0.15 * (high - low))


def test_copies_in_a_group_make_no_interval_narrower() -> None:
    """Each photograph ten times: without groups the interval is narrower by the root of ten."""
    a, b = scores(1, 2, 40)
    once = paired_bootstrap(a, b, IOU, resamples=2000)
    copies, groups = [np.repeat(rows, 10, axis=1) for rows in (a, b)], np.repeat(np.arange(40), 10)
    grouped = paired_bootstrap(*copies, IOU, groups, resamples=2000)
    alone = paired_bootstrap(*copies, IOU, resamples=2000)
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=1e-6)
    assert (once.high - once.low) / (alone.high - alone.low) == pytest.approx(10**0.5, rel=0.15)
    assert flip_test(*copies, IOU, groups) == pytest.approx(flip_test(a, b, IOU), abs=0.01)


def test_an_error_that_is_lower_is_a_gain_and_an_equal_one_has_no_width() -> None:
    a = np.full((2, 30), 1.0)
    assert paired_bootstrap(a, 4 * a, RMSE) == Interval(1.0, 1.0, 1.0, 0.95)
    assert paired_bootstrap(4 * a, a, RMSE).estimate == -1.0
    assert paired_bootstrap(a, a, RMSE) == Interval(0.0, 0.0, 0.0, 0.95)
    with pytest.raises(EvaluationError, match="groups: 2 for 30 samples"):
        paired_bootstrap(a, a, RMSE, ("x", "y"))


def test_most_samples_for_the_worse_arm_prove_nothing() -> None:
    a, b = np.full((1, 40), 0.5), np.full((1, 40), 0.5)
    a[0, :8], b[0, 8:] = 3.0, 0.51
    assert a.mean() > b.mean()
    assert 0.001 < flip_test(a, b, IOU) < 0.05  # eight large differences, of which the small ones take nothing
    a[0, :8] = 0.55  # no larger than the sum of the others
    assert flip_test(a, b, IOU) > 0.3
    a[0], b[0] = 0.5, 0.49  # now all favour the one that is better on average, equally
    assert flip_test(a, b, IOU) == pytest.approx(2 / 2**40)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(2, 9))
def test_flips_of_units_are_counted_exactly_each_with_its_size(seed, samples):
    generator = np.random.default_rng(seed)
    a, b = generator.integers(0, 9, (2, 1, samples)).astype(float)
    differences = (b - a)[0]
    differences = differences[differences != 0]
    signs = np.array(list(itertools.product([-1, 1], repeat=len(differences))))
    sums = signs @ differences
    by_hand = 2 * min((sums >= differences.sum()).mean(), (sums <= differences.sum()).mean())
    assert flip_test(a, b, COST) == pytest.approx(min(1.0, by_hand) if len(differences) > 1 else 1.0)
    hits, all_right = a > b, np.ones_like(a, dtype=bool)
    assert flip_test(hits, all_right, ACCURACY) == pytest.approx(mcnemar(hits[0], all_right[0]).p)


def test_an_error_that_is_gone_from_few_large_units_is_no_tie() -> None:
    """Half of the groups favour either arm, and those that favour `a` by ten times as much."""
    generator = np.random.default_rng(0)
    b = generator.random((1, 40)) + 4.0
    a = b + np.where(np.arange(40) % 2, -1.0, 0.1) * generator.random((1, 40))
    assert flip_test(a, b, RMSE) < 0.001
