"""Comparisons of two arms (competitors): accuracy difference, recall gain per class, and agreement of predictions.

Shape legend: S seeds, N test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.arms import BASELINE, EXPLICIT, IMPLICIT, arms_where
from dynaxx.evaluation.statistics.paired import (
    Bootstrap,
    Interval,
    McNemar,
    holm,
    image_sign_test,
    mcnemar,
    paired_bootstrap,
    relative_gain,
    sign_flip,
)
from dynaxx.evaluation.statistics.proof import contradiction

ONE_PASS = arms_where(lambda arm: arm.one_pass)
"""Arms that predict in one pass, without distillation; `implicit` is compared with each, as it also takes one pass."""


@dataclass(frozen=True)
class Comparison:
    """Test accuracy of arm `a` against arm `b` on the same test images, with confidence interval and p-values."""

    a: str
    b: str
    difference: Interval
    """Test accuracy of `a` minus test accuracy of `b`, a fraction, with its confidence interval."""
    mcnemar: list[McNemar]
    """McNemar tests of `a` against `b`, one per seed."""
    sign_flip_p: float | None
    """p-value of the accuracy difference, by sign flips over seeds; None with fewer than six seeds."""
    relative: float
    """Relative gain: test accuracy of `a` divided by test accuracy of `b`, minus one."""
    image_p: float
    """Exact p-value of the sign test on the numbers of images that favour `a` and that favour `b`."""

    @property
    def better(self) -> bool:
        """Whether `a` is proven more accurate than `b`: the interval is above zero, and no test contradicts it."""
        return self.difference.low > 0 and not self.contradicted

    @property
    def worse(self) -> bool:
        """Whether `a` is proven less accurate than `b`: the interval is below zero, and no test contradicts it."""
        return self.difference.high < 0 and not self.contradicted

    @property
    def contradicted(self) -> str:
        """Reason why an interval that excludes zero is no proof (see `statistics/proof.py`); empty if it is one."""
        return contradiction(self.difference, self.image_p, self.sign_flip_p)

    @classmethod
    def measure(
        cls,
        a: str,
        b: str,
        correct_a: NDArray[np.bool_],
        correct_b: NDArray[np.bool_],
        *,
        seed: int = 0,
        resamples: int = 10_000,
        confidence: float = 0.95,
    ) -> Self:
        """Compare arms `a` and `b` by their arrays (S, N) of bool, in which True marks a correct prediction."""
        return cls(
            a=a,
            b=b,
            difference=paired_bootstrap(correct_a, correct_b, resamples=resamples, confidence=confidence, seed=seed),
            mcnemar=[mcnemar(x, y) for x, y in zip(correct_a, correct_b, strict=True)],
            sign_flip_p=sign_flip(correct_a.mean(axis=1).tolist(), correct_b.mean(axis=1).tolist()),
            relative=relative_gain(correct_a.mean(axis=1).tolist(), correct_b.mean(axis=1).tolist()),
            image_p=image_sign_test(correct_a, correct_b),
        )


@dataclass(frozen=True)
class ClassGain:
    """Test recall of `explicit` minus test recall of `baseline` (linear probe or own head) for one class."""

    name: str
    trained: int
    """Number of training images of the class."""
    images: int
    """Number of test images of the class."""
    difference: Interval
    """Test recall of `explicit` minus test recall of `baseline`, a fraction, with its confidence interval."""
    holm_p: float | None
    """p-value of sign flips over seeds, with Holm's correction over all classes; None with fewer than six seeds."""


@dataclass(frozen=True)
class Agreement:
    """Fraction of test images to which two arms assign the same class, right or wrong; mean over seeds."""

    a: str
    b: str
    share: float


def pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of arms to compare: the arm in question first, its rival second.

    `explicit` is compared with every arm, and every arm with `baseline` (linear probe or own head). `implicit` is also
    compared with the arms that predict in one pass.

    Example: `pairs(["baseline", "explicit"])` is `[("explicit", "baseline")]`.
    """
    candidates = [(EXPLICIT, arm) for arm in arms if arm not in (EXPLICIT, IMPLICIT)]
    candidates += [(IMPLICIT, arm) for arm in (EXPLICIT, BASELINE, *ONE_PASS)]
    candidates += [(arm, BASELINE) for arm in arms if arm not in (EXPLICIT, IMPLICIT, BASELINE)]
    return [(a, b) for a, b in candidates if a in arms and b in arms]


def compare(correct: Mapping[str, NDArray[np.bool_]], bootstrap: Bootstrap) -> list[Comparison]:
    """Compare the arms of each pair of `pairs`; `correct` maps each arm to bool (S, N), True where correct."""
    return [Comparison.measure(a, b, correct[a], correct[b], **bootstrap) for a, b in pairs(list(correct))]


def class_gains(
    correct: Mapping[str, NDArray[np.bool_]],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    trained: Sequence[int],
    bootstrap: Bootstrap,
) -> list[ClassGain]:
    """Test recall of `explicit` minus that of `baseline` per class, the rarest class in training first.

    >>> correct = {"explicit": np.array([[True, True]]), "baseline": np.array([[True, False]])}
    >>> class_gains(correct, np.array([0, 1]), ["cat", "dog"], [50, 9], bootstrap)[0].difference.estimate  # the dog
    1.0

    Args:
        correct: arm → bool (S, N), True for a correct prediction; without `explicit` or `baseline` the list is empty.
        labels: class index of each test image, (N,).
        classes: class names, in the order of the class indices.
        trained: number of training images per class, in the same order.
        bootstrap: keyword arguments of `paired_bootstrap`.
    """
    if EXPLICIT not in correct or BASELINE not in correct:
        return []
    order = sorted(range(len(classes)), key=lambda number: trained[number])
    a, b = correct[EXPLICIT], correct[BASELINE]
    of = [np.flatnonzero(labels == number) for number in order]
    p_values = [sign_flip(a[:, n].mean(1).tolist(), b[:, n].mean(1).tolist()) for n in of]
    known = [p for p in p_values if p is not None]  # all of them, or none: the seeds are the same for every class
    adjusted: list[float | None] = list(holm(known)) if known else [None] * len(order)
    return [
        ClassGain(classes[number], trained[number], len(n), paired_bootstrap(a[:, n], b[:, n], **bootstrap), p)
        for number, n, p in zip(order, of, adjusted, strict=True)
    ]


def agreements(predictions: Mapping[str, NDArray[np.int64]]) -> list[Agreement]:
    """Agreement of every two arms; `predictions` maps each arm to its predicted class indices, (S, N)."""
    return [Agreement(a, b, float((predictions[a] == predictions[b]).mean())) for a, b in combinations(predictions, 2)]
