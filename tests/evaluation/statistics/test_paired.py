"""Paired statistics against naive references, and what they refuse."""

import itertools
from math import comb
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import Comparison
from dynaxx.evaluation.statistics.paired import (
    Interval,
    holm,
    mcnemar,
    paired_bootstrap,
    relative_gain,
    sign_flip,
)
from dynaxx.tasks import Metric

ACCURACY, RMSE = Metric("accuracy"), Metric("rmse", higher_is_better=False, root=True)


def naive_mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided: how likely a fair coin lands at least as unevenly."""
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    return min(1.0, 2 * tail)


def naive_interval(a_SN: np.ndarray, b_SN: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Percentile bootstrap by loops over whole images: seeds and arms of a drawn image together."""
    generator = np.random.default_rng(seed)
    images = a_SN.shape[1]
    shifts = []
    for _ in range(resamples):
        drawn = [int(i) for i in generator.integers(images, size=images)]
        shifts.append(a_SN[:, drawn].mean() - b_SN[:, drawn].mean())
    return float(np.percentile(shifts, 2.5)), float(np.percentile(shifts, 97.5))


def naive_bca(wins_N: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Efron's formulas for the mean: bias by the share of resamples below it, acceleration by jackknife."""
    generator, normal = np.random.default_rng(seed), NormalDist()
    means = np.array([generator.choice(wins_N, wins_N.size).mean() for _ in range(resamples)])
    below = np.mean(means < wins_N.mean()) + np.mean(means == wins_N.mean()) / 2
    left_out = np.array([np.delete(wins_N, i).mean() for i in range(wins_N.size)])
    off = left_out.mean() - left_out
    acceleration = (off**3).sum() / (6 * (off**2).sum() ** 1.5)
    bias = normal.inv_cdf(float(below))
    shifted = [bias + normal.inv_cdf(level) for level in (0.025, 0.975)]
    levels = [normal.cdf(bias + z / (1 - acceleration * z)) for z in shifted]
    return float(np.quantile(means, levels[0])), float(np.quantile(means, levels[1]))


def answers(seed: int, seeds: int, images: int, rate_b: float, flips: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    easy = generator.random(images) < rate_b  # shared by the seeds, as on a real test set
    b = easy[None] ^ (generator.random((seeds, images)) < 0.05)
    return b | (generator.random((seeds, images)) < flips), b


@given(arrays(bool, st.tuples(st.just(2), st.integers(1, 60))))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_the_binomial_tail_and_symmetric(pair: np.ndarray) -> None:
    a, b = pair
    result = mcnemar(a, b)
    assert (result.only_a, result.only_b) == (
        sum(x and not y for x, y in zip(a, b, strict=True)),
        sum(y and not x for x, y in zip(a, b, strict=True)),
    )
    assert result.p == pytest.approx(naive_mcnemar_p(result.only_a, result.only_b), abs=1e-12)
    swapped = mcnemar(b, a)
    assert (swapped.only_a, swapped.only_b, swapped.p) == (result.only_b, result.only_a, result.p)


def test_mcnemar_by_hand() -> None:
    a = np.array([True] * 6 + [False] + [True] * 3)
    b = np.array([False] * 6 + [True] + [True] * 3)
    assert mcnemar(a, b).p == pytest.approx(2 * (1 + 7) / 2**7)


@pytest.mark.parametrize(("seeds", "images", "flips"), [(1, 400, 0.05), (3, 300, 0.1), (6, 250, 0.08)])
def test_bootstrap_agrees_with_a_naive_percentile_bootstrap(seeds: int, images: int, flips: float) -> None:
    a, b = answers(seeds, seeds, images, 0.7, flips)
    interval = paired_bootstrap(a, b, ACCURACY, resamples=4000, seed=1)
    low, high = naive_interval(a, b, resamples=1500, seed=2)
    assert interval.estimate == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    # The sampling distribution is nearly normal: BCa moves its ends by a few per cent of the width (skewness
    # over the root of the images), Monte-Carlo error of a 2.5 % quantile from 1,500 draws by about 2 %.
    tolerance = 0.12 * (high - low)
    assert interval.low == pytest.approx(low, abs=tolerance)
    assert interval.high == pytest.approx(high, abs=tolerance)


def test_bootstrap_corrects_for_skewness() -> None:
    """A few images that all seeds win, many that none does: percentile, basic and BCa intervals part."""
    wins_N = np.array([6, 6, 6, 5, 4, 2, 1] + [0] * 33)
    a = np.arange(6)[:, None] < wins_N[None]
    interval = paired_bootstrap(a, np.zeros_like(a), ACCURACY, resamples=10_000)
    low, high = naive_bca(wins_N / 6, resamples=10_000, seed=7)
    # Two independent sets of 10,000 draws: quantiles differ by some 2 % of the width, the kinds by 10 %.
    assert interval.low == pytest.approx(low, abs=0.05 * (high - low))
    assert interval.high == pytest.approx(high, abs=0.05 * (high - low))


def test_seeds_are_not_counted_as_new_images() -> None:
    a, b = answers(0, 1, 300, 0.7, 0.1)
    once = paired_bootstrap(a, b, ACCURACY, resamples=3000)
    repeated = paired_bootstrap(np.repeat(a, 5, axis=0), np.repeat(b, 5, axis=0), ACCURACY, resamples=3000)
    assert repeated.estimate == pytest.approx(once.estimate, abs=1e-12)
    assert repeated.low == pytest.approx(once.low, abs=1e-12)
    assert repeated.high == pytest.approx(once.high, abs=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 80))
@settings(max_examples=40, deadline=None)
def test_interval_is_ordered_finite_within_range_and_repeatable(seed: int, seeds: int, images: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.random((2, seeds, images)) < generator.random()
    interval = paired_bootstrap(a, b, ACCURACY, resamples=400, seed=seed)
    assert -1 <= interval.low <= interval.high <= 1
    assert interval.low - 1e-12 <= interval.estimate <= interval.high + 1e-12
    assert interval == paired_bootstrap(a, b, ACCURACY, resamples=400, seed=seed)


@pytest.mark.parametrize(("a", "b", "value"), [(True, True, 0.0), (True, False, 1.0), (False, True, -1.0)])
def test_where_all_images_differ_alike_the_interval_has_no_width(a: bool, b: bool, value: float) -> None:
    shape = (3, 50)
    assert paired_bootstrap(np.full(shape, a), np.full(shape, b), ACCURACY) == Interval(value, value, value, 0.95)


def test_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = answers(4, 2, 500, 0.6, 0.1)
    whole = paired_bootstrap(a, b, ACCURACY, resamples=500)
    monkeypatch.setattr("dynaxx.evaluation.statistics.paired.BATCH_BYTES", 1)  # one resample at a time
    assert paired_bootstrap(a, b, ACCURACY, resamples=500) == whole


def test_coverage_on_a_known_difference() -> None:
    """Of 200 intervals of 95 %, about 190 cover the true difference; 177 is four standard deviations off."""
    covered = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        a, b = generator.random((1, 200)) < 0.75, generator.random((1, 200)) < 0.65
        interval = paired_bootstrap(a, b, ACCURACY, resamples=500, seed=seed)
        covered += interval.low <= 0.10 <= interval.high
    assert 177 <= covered <= 200


GOOD = np.array([[True, False, True]])


@pytest.mark.parametrize(
    ("a", "b", "word"),
    [
        (GOOD, GOOD[:, :2], "shape"),
        (GOOD.astype(float) * np.nan, GOOD, "3 numbers that are not finite"),
        (GOOD.tolist(), GOOD, "give a NumPy array of numbers"),
        (GOOD.astype(str), GOOD, "give a NumPy array of numbers"),
        (GOOD[:, :0], GOOD[:, :0], "at least one sample"),
        (GOOD[0], GOOD[0], "(seeds, samples)"),
    ],
)
def test_bootstrap_refuses_what_is_not_paired_scores(a: object, b: object, word: str) -> None:
    with pytest.raises(EvaluationError, match=word.replace("(", r"\(").replace(")", r"\)")):
        paired_bootstrap(a, b, ACCURACY)  # type: ignore[arg-type]


def test_mcnemar_refuses_more_than_one_seed() -> None:
    with pytest.raises(EvaluationError, match=r"\(images,\)"):
        mcnemar(GOOD, GOOD)


@pytest.mark.parametrize("options", [{"resamples": 0}, {"confidence": 1.5}, {"confidence": float("nan")}])
def test_bootstrap_refuses_impossible_options(options: dict[str, float]) -> None:
    a, b = answers(0, 1, 50, 0.5, 0.2)
    with pytest.raises(EvaluationError, match="paired_bootstrap"):
        paired_bootstrap(a, b, ACCURACY, **options)  # type: ignore[arg-type]


def test_relative_gain_of_an_error_is_the_part_that_is_gone() -> None:
    a, b = np.array([[1.0, 1.0, 1.0, 0.0]]), np.array([[1.0, 1.0, 0.0, 0.0]])
    assert relative_gain(a, b, ACCURACY) == pytest.approx(0.5)
    assert relative_gain(np.full((2, 3), 1.0), np.full((2, 3), 4.0), RMSE) == pytest.approx(0.5)
    assert relative_gain(np.full((2, 3), 4.0), np.full((2, 3), 1.0), RMSE) == pytest.approx(-1.0)
    assert relative_gain(a, np.zeros_like(b), ACCURACY) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=6, max_size=9))
def test_sign_flips_are_counted_exactly(pairs):
    a, b = [x / 20 for x, _ in pairs], [y / 20 for _, y in pairs]
    differences = np.array([x - y for x, y in pairs])
    signs = np.array(list(itertools.product([-1, 1], repeat=len(pairs))))
    sums = signs @ differences
    by_hand = 2 * min((sums >= differences.sum()).mean(), (sums <= differences.sum()).mean())
    assert sign_flip(a, b) == pytest.approx(min(1.0, by_hand))


def test_five_seeds_can_show_nothing():
    assert sign_flip([1.0] * 5, [0.0] * 5) is None
    assert sign_flip([1.0] * 6, [0.0] * 6) == pytest.approx(2 / 64)
    with pytest.raises(EvaluationError, match="6 and 5 values"):
        sign_flip([1.0] * 6, [0.0] * 5)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize(("won", "proven"), [(3, False), (5, False), (6, True)])
def test_a_handful_of_images_proves_nothing_whatever_the_interval_says(won, proven):
    b = np.zeros((1, 359), bool)
    b[:, :200] = True
    a = b.copy()
    a[:, 300 : 300 + won] = True
    found = Comparison.measure("explicit", "baseline", a, b, ACCURACY, resamples=2000)
    assert found.difference.low > 0
    assert found.better == proven


def test_where_nothing_is_to_be_found_little_is_called_proven():
    """Of 300 images 6 differ by chance alone: the bootstrap's interval alone would err in a tenth of all runs."""
    found = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        a = np.ones((1, 300), bool)
        b = a.copy()
        for image in np.flatnonzero(generator.random(300) < 0.02):
            (a if generator.random() < 0.5 else b)[0, image] = False
        comparison = Comparison.measure("a", "b", a, b, ACCURACY, resamples=500, seed=seed)
        found.append(comparison.better or comparison.worse)
    assert np.mean(found) <= 0.05
