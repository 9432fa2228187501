"""Paired statistics: is arm (competitor) `a` correct on more of the same test images than arm `b`?

Shape legend: S seeds, N test images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.errors import EvaluationError

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

    _check_pair(correct_a, correct_b, ndim=1)
    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    both, neither = int(np.sum(correct_a & correct_b)), int(np.sum(~correct_a & ~correct_b))
    result = exact_test([[both, only_a], [only_b, neither]], exact=True)
    return McNemar(only_a, only_b, float(result.pvalue))


def image_sign_test(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Exact two-sided sign test of the images that favour `a` and those that favour `b`; arrays bool (S, N).

    >>> image_sign_test(np.array([[True, True, True]]), np.array([[False, False, True]]))
    0.5

    An image favours the arm that classifies it correctly with more seeds. With one seed the test equals McNemar's
    test. A bootstrap interval is too narrow if the arms differ on few images; the sign test stays exact.

    Method: Fisher's sign test, computed by `scipy.stats.binomtest`.

    Raises:
        EvaluationError: an array is empty, is not bool, or has another shape.
    """
    from scipy.stats import binomtest

    _check_pair(correct_a, correct_b, ndim=2)
    a_N, b_N = correct_a.sum(axis=0), correct_b.sum(axis=0)
    for_a, for_b = int((a_N > b_N).sum()), int((a_N < b_N).sum())
    return float(binomtest(for_a, for_a + for_b).pvalue) if for_a + for_b else 1.0


def paired_bootstrap(
    correct_a: NDArray[np.bool_],
    correct_b: NDArray[np.bool_],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Bootstrap (BCa) interval of `mean(correct_a) - mean(correct_b)`, a fraction; both arrays are bool (S, N).

    >>> paired_bootstrap(np.array([[True, True, False, True]]), np.array([[False, True, False, True]]))
    Interval(estimate=0.25, low=0.0, high=0.75, confidence=0.95)

    A resample draws images; each image brings the predictions of all seeds and both arms. Seeds share the test set,
    so separate resampling would count an image S times. The interval covers the draw of test images, but not the
    randomness of training. Its width is zero if the arms differ equally on every image.

    Method: Efron, JASA 82 (1987), computed by `scipy.stats.bootstrap`.

    Raises:
        EvaluationError: an array is empty, is not bool, or has another shape; `resamples` is too small, or
            `confidence` is not between 0 and 1.
    """
    _check_pair(correct_a, correct_b, ndim=2)
    if not (resamples >= 1 and 0 < confidence < 1):
        raise EvaluationError(
            f"paired_bootstrap: resamples={resamples}, confidence={confidence}; "
            "give at least 1 and a fraction between 0 and 1"
        )
    seeds, _ = correct_a.shape
    # Whole numbers in float64 add up exactly in any order; BCa counts ties with the estimate.
    wins_N = (correct_a.astype(np.int64) - correct_b.astype(np.int64)).sum(axis=0).astype(np.float64)
    total = mean_interval(wins_N, resamples=resamples, confidence=confidence, seed=seed)
    return Interval(total.estimate / seeds, total.low / seeds, total.high / seeds, confidence)


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
    low, high = _bca(values_N, resamples=resamples, confidence=confidence, seed=seed)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise EvaluationError(f"resamples={resamples} of {len(values_N)} images give no finite interval; draw more")
    return Interval(estimate, low, high, confidence)


def _bca(values_N: NDArray[np.float64], *, resamples: int, confidence: float, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap

    rows = max(1, BATCH_BYTES // (2 * values_N.nbytes))  # a batch holds the indices drawn and the values they draw
    result = bootstrap(
        (values_N,),
        np.mean,
        n_resamples=resamples,
        batch=rows,
        vectorized=True,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


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
    from scipy.stats import permutation_test

    if len(values_a) != len(values_b):
        raise EvaluationError(f"sign_flip: {len(values_a)} and {len(values_b)} values; give one a seed of each")
    if len(values_a) < FEWEST_SEEDS:
        return None
    result = permutation_test(
        (np.asarray(values_a, np.float64), np.asarray(values_b, np.float64)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=100_000,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values after Holm's correction for multiple tests (Scand. J. Statist. 6, 1979), computed by statsmodels."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def relative_gain(accuracies_a: Sequence[float], accuracies_b: Sequence[float]) -> float:
    """Relative gain of arm `a` over arm `b`: `mean(a) / mean(b) - 1`, with one accuracy per seed.

    Example: `relative_gain([0.75], [0.5])` is 0.5.

    Raises:
        EvaluationError: the mean accuracy of `b` is not above zero.
    """
    base = float(np.mean(accuracies_b))
    if not base > 0:
        raise EvaluationError(f"relative_gain: accuracies_b has mean {base}; a gain needs one above zero")
    return float(np.mean(accuracies_a)) / base - 1


def _check_pair(correct_a: Any, correct_b: Any, *, ndim: int) -> None:
    for name, array in (("correct_a", correct_a), ("correct_b", correct_b)):
        if not isinstance(array, np.ndarray) or array.dtype != np.bool_:
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise EvaluationError(f"{name} is {kind}; give a NumPy array of bool, True where the answer is correct")
        if array.ndim != ndim or array.size == 0:
            shape = "(images,)" if ndim == 1 else "(seeds, images)"
            raise EvaluationError(f"{name} has shape {array.shape}; give {shape} with at least one image")
    if correct_a.shape != correct_b.shape:
        raise EvaluationError(
            f"correct_a has shape {correct_a.shape} and correct_b {correct_b.shape}; both need the same"
        )
