"""Paired statistics: is arm `a` correct on more of the same test images than arm `b`?

Shape legend: S seeds, N test images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.errors import EvaluationError

BATCH_BYTES = 64 * 2**20
"""Memory limit per batch of resamples; the result does not depend on it."""


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
    """Number of images on which only one of two arms is correct, and the exact p-value of this split."""

    only_a: int
    only_b: int
    p: float


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> McNemar:
    """Exact (binomial, two-sided) McNemar test of one seed; arrays (N,), bool, same images in the same order.

    >>> mcnemar(np.array([True, True, True]), np.array([False, False, True]))
    McNemar(only_a=2, only_b=0, p=0.5)

    McNemar, Psychometrika 12 (1947); the exact form as statsmodels computes it.
    Raises `EvaluationError` for arrays of another type or shape, or empty ones.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    _check_pair(correct_a, correct_b, ndim=1)
    only_a = int(np.sum(correct_a & ~correct_b))
    only_b = int(np.sum(correct_b & ~correct_a))
    both, neither = int(np.sum(correct_a & correct_b)), int(np.sum(~correct_a & ~correct_b))
    result = exact_test([[both, only_a], [only_b, neither]], exact=True)
    return McNemar(only_a, only_b, float(result.pvalue))


def image_sign_test(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value of the number of images that favour `a` or `b`; arrays (S, N), bool.

    >>> image_sign_test(np.array([[True, True, True]]), np.array([[False, False, True]]))
    0.5

    An image favours the arm that is correct on it with more seeds. With one seed it is McNemar's test. If few images
    differ, the interval of a bootstrap is too narrow; this test stays exact. Fisher's sign test, as
    `scipy.stats.binomtest` computes it.
    Raises `EvaluationError` for arrays of another type or shape, or empty ones.
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
    """BCa interval of `mean(correct_a) - mean(correct_b)`, a fraction; arrays (S, N), bool.

    >>> paired_bootstrap(np.array([[True, True, False, True]]), np.array([[False, True, False, True]]))
    Interval(estimate=0.25, low=0.0, high=0.75, confidence=0.95)

    An image is drawn with the predictions of all seeds and both arms. Seeds share the test set, so resampling them
    separately would count an image S times. The interval therefore covers new images, for these S trainings. It has
    no width if the arms differ equally on every image. Efron, JASA 82 (1987), as `scipy.stats.bootstrap` computes it.
    Raises `EvaluationError` for arrays of another type or shape, empty ones, or too few `resamples`.
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
    """BCa interval of the mean of one number per image; it has no width if all numbers are equal.

    >>> mean_interval(np.arange(10.0))
    Interval(estimate=4.5, low=2.7, high=6.3, confidence=0.95)

    Raises `EvaluationError` if so few resamples give no finite interval.
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
"""With fewer seeds the smallest possible p-value of sign flips, 2 / 2 ** seeds, is above 0.05."""


def sign_flip(values_a: Sequence[float], values_b: Sequence[float]) -> float | None:
    """Two-sided p-value of a difference in means, one value per seed; None below `FEWEST_SEEDS` seeds.

    >>> sign_flip([0.8] * 6, [0.7] * 6)
    0.03125

    If `a` and `b` were equal, the difference of each seed could have either sign. All signs are enumerated, or 100,000
    of them drawn. Fisher, The Design of Experiments (1935), as `scipy.stats.permutation_test` computes it.
    Raises `EvaluationError` if `a` and `b` have different numbers of seeds.
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
    """p-values after Holm's correction for multiple tests. Holm, Scand. J. Statist. 6 (1979); by statsmodels."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]] if p_values else []


def relative_gain(accuracies_a: Sequence[float], accuracies_b: Sequence[float]) -> float:
    """`mean(a) / mean(b) - 1`. Raises `EvaluationError` if the mean of `b` is not above zero."""
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
