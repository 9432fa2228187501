"""Paired statistics: has arm (competitor) `a` better scores than arm `b` on the same test samples?

A score is one number per sample; the task's metric is the mean of the scores, or the root of the mean. All differences
are gains: positive where `a` is better, whether the metric is an accuracy or an error.

Shape legend: S seeds, N test samples, U units (samples, or groups of samples where there are groups).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.statistics.units import Groups, Sums, unit_numbers
from dynaxx.tasks import Metric

BATCH_BYTES = 64 * 2**20
"""Memory limit in bytes per batch of bootstrap resamples; the interval does not depend on the limit."""


class Bootstrap(TypedDict):
    """Keyword arguments of `paired_bootstrap`."""

    resamples: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval, in the unit of the estimate."""

    estimate: float
    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class McNemar:
    """McNemar test: numbers of images that only arm `a`, or only arm `b`, classifies correctly, and exact p-value."""

    only_a: int
    only_b: int
    p: float


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> McNemar:
    """Exact (binomial, two-sided) McNemar test of one seed; both arrays are bool (N,) for the same images.

    >>> mcnemar(np.array([True, True, True]), np.array([False, False, True]))
    McNemar(only_a=2, only_b=0, p=0.5)

    Method: McNemar, Psychometrika 12 (1947), computed by statsmodels.

    Raises:
        EvaluationError: an array is empty, is not bool, or has another shape.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    _check_answers(correct_a, correct_b)
    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    both, neither = int(np.sum(correct_a & correct_b)), int(np.sum(~correct_a & ~correct_b))
    result = exact_test([[both, only_a], [only_b, neither]], exact=True)
    return McNemar(only_a, only_b, float(result.pvalue))


def flip_test(scores_a: NDArray[Any], scores_b: NDArray[Any], metric: Metric, groups: Groups = ()) -> float:
    """Two-sided permutation test of the units' differences, each with its size; scores are (S, N).

    >>> flip_test(np.array([[5.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 0.0]]), Metric("cost", higher_is_better=False))
    0.5

    A unit is a sample, or a group of samples. If the arms were equally good, the difference of each unit could have
    either sign. A large error weighs as much as several small ones, as in the average that the test is about. All
    combinations of signs are tried, or 10,000 are drawn. With scores of 0 and 1, one seed and no groups, the test
    equals McNemar's. A bootstrap interval is too narrow if the arms differ on few units; this test is not.

    Method: Fisher, The Design of Experiments (1935), computed by `scipy.stats.permutation_test`. Differences of one
    size need only be counted, by `scipy.stats.binomtest`.

    Raises:
        EvaluationError: an array is empty, is not finite, or has another shape; groups do not fit.
    """
    from scipy.stats import binomtest

    gains_U = _unit_gains(*_checked_pair(scores_a, scores_b), metric, groups)
    gains_U = gains_U[gains_U != 0]  # which no sign changes
    if len(gains_U) < 2:
        return 1.0
    if np.ptp(np.abs(gains_U)) == 0:
        return float(binomtest(int((gains_U > 0).sum()), len(gains_U)).pvalue)
    return _flips(gains_U, np.zeros_like(gains_U), resamples=10_000)


def _unit_gains(
    a_SN: NDArray[np.float64], b_SN: NDArray[np.float64], metric: Metric, groups: Groups
) -> NDArray[np.float64]:
    """How much each unit favours `a`, summed over samples and seeds; 0 where sums differ by rounding alone."""
    units = unit_numbers(groups, a_SN.shape[1])
    a_U, b_U = (np.bincount(units, weights=scores.sum(axis=0)).astype(np.float64) for scores in (a_SN, b_SN))
    gains_U = a_U - b_U if metric.higher_is_better else b_U - a_U
    # equal scores may be added up in another order
    return np.where(np.isclose(a_U, b_U, rtol=1e-12, atol=1e-12), 0.0, gains_U)


def paired_bootstrap(
    scores_a: NDArray[Any],
    scores_b: NDArray[Any],
    metric: Metric,
    groups: Groups = (),
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap (BCa) interval of the gain of `a` over `b`, in the metric's unit; scores are (S, N).

    >>> paired_bootstrap(np.array([[1, 1, 0, 1]]), np.array([[0, 1, 0, 1]]), Metric("accuracy"))
    Interval(estimate=0.25, low=0.0, high=0.75, confidence=0.95)

    A resample draws units: samples, or whole groups where there are groups. Each brings the scores of all its samples,
    seeds and both arms, and the metric is computed anew, its root too. Seeds share the test set, so separate resampling
    would count a sample S times. The interval covers the draw of test samples, but not the randomness of training. Its
    width is zero if leaving out any one unit changes nothing.

    Method: Efron, JASA 82 (1987), computed by `scipy.stats.bootstrap`.

    Raises:
        EvaluationError: an array is empty, is not finite, or has another shape; groups do not fit; `resamples` is too
            small, or `confidence` is not between 0 and 1.
    """
    a_SN, b_SN = _checked_pair(scores_a, scores_b)
    if not (resamples >= 1 and 0 < confidence < 1):
        raise EvaluationError(
            f"paired_bootstrap: resamples={resamples}, confidence={confidence}; "
            "give at least 1 and a fraction between 0 and 1"
        )
    sums = Sums.of(a_SN, b_SN, metric, groups)
    if sums.plain:  # a mean over samples that stand alone needs no counts
        gains_N = sums.table_UK[:, 0] / (1 if metric.higher_is_better else -1)
        total = mean_interval(gains_N, resamples=resamples, confidence=confidence, seed=seed)
        return Interval(total.estimate / sums.seeds, total.low / sums.seeds, total.high / sums.seeds, confidence)
    units = np.arange(len(sums.table_UK))
    estimate, without = float(sums.gain(units)), sums.without_each
    if np.allclose(without, estimate, rtol=1e-12, atol=1e-12 * float(np.abs(sums.table_UK).max())):
        return Interval(estimate, estimate, estimate, confidence)
    low, high = _bca(units, sums.gain, resamples=resamples, confidence=confidence, seed=seed)
    return Interval(estimate, low, high, confidence)


def mean_interval(
    values_N: NDArray[np.float64], *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Bootstrap (BCa) interval of the mean of one number per image; its width is zero if all numbers are equal.

    >>> mean_interval(np.arange(10.0))
    Interval(estimate=4.5, low=2.7, high=6.3, confidence=0.95)

    Raises:
        EvaluationError: the interval is not finite, because `resamples` is too small.
    """
    estimate = float(values_N.mean())
    if np.all(values_N == values_N[0]):
        return Interval(estimate, estimate, estimate, confidence)
    low, high = _bca(values_N, np.mean, resamples=resamples, confidence=confidence, seed=seed)
    return Interval(estimate, low, high, confidence)


def _bca(
    values: NDArray[Any], statistic: Callable[..., Any], *, resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    from scipy.stats import bootstrap

    # a batch holds the numbers drawn, and what the statistic makes of them
    rows = max(1, BATCH_BYTES // (4 * values.nbytes))
    result = bootstrap(
        (values,),
        statistic,
        n_resamples=resamples,
        batch=rows,
        vectorized=True,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = float(result.confidence_interval.low), float(result.confidence_interval.high)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise EvaluationError(f"resamples={resamples} of {len(values)} give no finite interval; draw more")
    return low, high


FEWEST_SEEDS = 6
"""Smallest number of seeds at which sign flips can give a p-value below 0.05; the lowest is 2 / 2 ** seeds."""


def sign_flip(values_a: Sequence[float], values_b: Sequence[float]) -> float | None:
    """Two-sided p-value of `mean(a) - mean(b)`, with one value per seed; None below `FEWEST_SEEDS` seeds.

    >>> sign_flip([0.8] * 6, [0.7] * 6)
    0.03125

    If `a` and `b` were equally good, the difference of each seed could have either sign. The test enumerates all
    combinations of signs, or draws 100,000 of them.

    Method: Fisher, The Design of Experiments (1935), computed by `scipy.stats.permutation_test`.

    Raises:
        EvaluationError: `a` and `b` have different numbers of seeds.
    """
    if len(values_a) != len(values_b):
        raise EvaluationError(f"sign_flip: {len(values_a)} and {len(values_b)} values; give one a seed of each")
    if len(values_a) < FEWEST_SEEDS:
        return None
    return _flips(np.asarray(values_a, np.float64), np.asarray(values_b, np.float64), resamples=100_000)


def _flips(a: NDArray[np.float64], b: NDArray[np.float64], *, resamples: int) -> float:
    from scipy.stats import permutation_test

    result = permutation_test(
        (a, b),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, BATCH_BYTES // (4 * a.nbytes)),
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for multiple tests (Scand. J. Statist. 6, 1979), computed by statsmodels."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def relative_gain(scores_a: NDArray[Any], scores_b: NDArray[Any], metric: Metric) -> float | None:
    """Gain of arm `a` over arm `b` as a fraction of what `b` reaches; scores are (S, N).

    Where the metric is an error, the gain is the part of it that is gone. None if `b` has a metric of zero, which no
    fraction describes.

    >>> relative_gain(np.array([[1.0, 1.0, 1.0, 0.0]]), np.array([[1.0, 1.0, 0.0, 0.0]]), Metric("accuracy"))
    0.5
    """
    a, b = metric.of(scores_a), metric.of(scores_b)
    return metric.gain(a, b) / abs(b) if b else None


def _checked_pair(scores_a: Any, scores_b: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    pair = []
    for name, array in (("scores_a", scores_a), ("scores_b", scores_b)):
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise EvaluationError(f"{name} is {kind}; give a NumPy array of numbers, one per seed and sample")
        if array.ndim != 2 or array.size == 0:
            raise EvaluationError(f"{name} has shape {array.shape}; give (seeds, samples) with at least one sample")
        if not np.isfinite(array).all():
            raise EvaluationError(f"{name} holds {int((~np.isfinite(array)).sum())} numbers that are not finite")
        pair.append(array.astype(np.float64))
    if scores_a.shape != scores_b.shape:
        raise EvaluationError(f"scores_a has shape {scores_a.shape} and scores_b {scores_b.shape}; both need the same")
    return pair[0], pair[1]


def _check_answers(correct_a: Any, correct_b: Any) -> None:
    for name, array in (("correct_a", correct_a), ("correct_b", correct_b)):
        if not isinstance(array, np.ndarray) or array.dtype != np.bool_:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise EvaluationError(f"{name} is {kind}; give a NumPy array of bool, True where the answer is correct")
        if array.ndim != 1 or array.size == 0:
            raise EvaluationError(f"{name} has shape {array.shape}; give (images,) with at least one image")
    if correct_a.shape != correct_b.shape:
        raise EvaluationError(
            f"correct_a has shape {correct_a.shape} and correct_b {correct_b.shape}; both need the same"
        )
