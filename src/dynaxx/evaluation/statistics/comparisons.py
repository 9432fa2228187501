"""Comparisons of two arms (competitors): gain in the metric, recall gain per class, and agreement of predictions.

Shape legend: S seeds, N test samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.arms import BASELINE, EXPLICIT, IMPLICIT
from dynaxx.evaluation.statistics.paired import (
    Bootstrap,
    Interval,
    McNemar,
    flip_test,
    holm,
    mcnemar,
    paired_bootstrap,
    relative_gain,
    sign_flip,
)
from dynaxx.evaluation.statistics.proof import contradiction
from dynaxx.evaluation.statistics.scores import Scores
from dynaxx.evaluation.statistics.units import Groups
from dynaxx.tasks import Metric

RECALL = Metric("recall")
"""Fraction of the samples of one class that are recognised."""


@dataclass(frozen=True)
class Comparison:
    """How much better arm `a` is than arm `b` on the same test samples, with confidence interval and p-values."""

    a: str
    b: str
    difference: Interval
    """Gain of `a` over `b` in the unit of the metric, with its confidence interval; positive where `a` is better."""
    mcnemar: list[McNemar]
    """McNemar tests of `a` against `b`, one per seed; empty where a score is not 0 or 1."""
    sign_flip_p: float | None
    """p-value of the gain, by sign flips over seeds; None with fewer than six seeds."""
    relative: float | None
    """The gain as a fraction of the metric of `b`, of an error the part that is gone; None if `b` has zero."""
    image_p: float
    """p-value of the gain, by sign flips over the differences of samples, or of groups."""

    @property
    def better(self) -> bool:
        """Whether `a` is proven better than `b`: the interval is above zero, and no test contradicts it."""
        return self.difference.low > 0 and not self.contradicted

    @property
    def worse(self) -> bool:
        """Whether `a` is proven worse than `b`: the interval is below zero, and no test contradicts it."""
        return self.difference.high < 0 and not self.contradicted

    @property
    def contradicted(self) -> str:
        """Reason why an interval that excludes zero is no proof (see `statistics/proof.py`); empty if it is one."""
        return contradiction(self.difference, self.image_p, self.sign_flip_p)

    def turned(self) -> "Comparison":
        """The same comparison seen from `b`; its relative gain is not known from this one's, and None.

        >>> comparison.turned().difference.estimate == -comparison.difference.estimate
        True
        """
        d = self.difference
        return Comparison(
            self.b,
            self.a,
            Interval(-d.estimate, -d.high, -d.low, d.confidence),
            [McNemar(test.only_b, test.only_a, test.p) for test in self.mcnemar],
            self.sign_flip_p,
            None,
            self.image_p,
        )

    @classmethod
    def measure(
        cls,
        a: str,
        b: str,
        scores_a: Scores | NDArray[Any],
        scores_b: Scores | NDArray[Any],
        metric: Metric,
        groups: Groups = (),
        *,
        seed: int = 0,
        resamples: int = 10_000,
        confidence: float = 0.95,
    ) -> Self:
        """Compare arms `a` and `b` by their scores (S, N), one per seed and sample.

        >>> Comparison.measure("loop", "probe", np.array([[1, 1, 0, 1]]), np.array([[0, 1, 0, 1]]), Metric("accuracy"))

        Args:
            a, b: names of the arms.
            scores_a, scores_b: their scores.
            metric: metric of the scores.
            groups: group of each sample; empty if samples stand alone.
            seed, resamples, confidence: options of the bootstrap.
        """
        a_SN, b_SN = Scores.of(scores_a), Scores.of(scores_b)
        of_a, of_b = a_SN.per_seed(metric), b_SN.per_seed(metric)
        return cls(
            a=a,
            b=b,
            difference=paired_bootstrap(
                a_SN.influence, b_SN.influence, metric, groups, resamples=resamples, confidence=confidence, seed=seed
            ),
            mcnemar=[mcnemar(x, y) for x, y in zip(a_SN.answers, b_SN.answers, strict=True)]
            if a_SN.binary and b_SN.binary
            else [],
            sign_flip_p=sign_flip(of_a, of_b),
            relative=relative_gain(a_SN.values, b_SN.values, metric),
            image_p=flip_test(a_SN.values, b_SN.values, metric, groups),
        )


@dataclass(frozen=True)
class ClassGain:
    """Test recall of `explicit` minus test recall of the probe for one class."""

    name: str
    trained: int
    """Number of training images of the class."""
    images: int
    """Number of test images of the class."""
    difference: Interval
    """Test recall of `explicit` minus test recall of the probe, a fraction, with its confidence interval."""
    holm_p: float | None
    """p-value of sign flips over seeds, with Holm's correction over all classes; None with fewer than six seeds."""


@dataclass(frozen=True)
class Agreement:
    """Fraction of test images to which two arms assign the same class, right or wrong; mean over seeds."""

    a: str
    b: str
    share: float


def pairs(arms: Sequence[str], readings: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Pairs of arms to compare: the arm in question first, its rival second.

    Every arm is compared with the probe, every reading with every other reading, and each reading of `readings` and
    `explicit` with every rival.

    Example: `pairs(["baseline", "explicit"])` is `[("explicit", "baseline")]`.
    """
    asked = [arm for arm in dict.fromkeys([EXPLICIT, IMPLICIT, *readings]) if arm in arms]
    candidates = [(arm, BASELINE) for arm in arms if arm != BASELINE]
    candidates += [(a, b) for a in asked for b in arms if b not in (a, BASELINE)]
    found: list[tuple[str, str]] = []
    for a, b in candidates:
        if a in arms and b in arms and (b, a) not in found:
            found.append((a, b))
    return found


def compare(
    scores: Mapping[str, Scores],
    metric: Metric,
    groups: Groups,
    bootstrap: Bootstrap,
    of: Iterable[tuple[str, str]],
) -> list[Comparison]:
    """Compare the arms of each pair; `scores` maps each arm to its scores, the rest is as in `Comparison.measure`.

    >>> compare(scores, Metric("accuracy"), (), bootstrap, [("explicit", "baseline")])[0].better
    True
    """
    return [Comparison.measure(a, b, scores[a], scores[b], metric, groups, **bootstrap) for a, b in of]


def class_gains(
    correct: Mapping[str, NDArray[np.bool_]],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    trained: Sequence[int],
    bootstrap: Bootstrap,
    groups: Groups = (),
) -> list[ClassGain]:
    """Test recall of `explicit` minus that of the probe per class, the rarest class in training first.

    >>> correct = {"explicit": np.array([[True, True]]), "baseline": np.array([[True, False]])}
    >>> class_gains(correct, np.array([0, 1]), ["cat", "dog"], [50, 9], bootstrap)[0].difference.estimate  # the dog
    1.0

    Args:
        correct: arm → bool (S, N), True for a correct prediction; without `explicit` or the probe the list is empty.
        labels: class index of each test image, (N,).
        classes: class names, in the order of the class indices.
        trained: number of training images per class, in the same order.
        bootstrap: keyword arguments of `paired_bootstrap`.
        groups: group of each test image; empty if images stand alone.
    """
    if EXPLICIT not in correct or BASELINE not in correct:
        return []
    order = sorted(range(len(classes)), key=lambda number: trained[number])
    a, b = correct[EXPLICIT], correct[BASELINE]
    of = [np.flatnonzero(labels == number) for number in order]
    p_values = [sign_flip(a[:, n].mean(1).tolist(), b[:, n].mean(1).tolist()) for n in of]
    known = [p for p in p_values if p is not None]  # all of them, or none: the seeds are the same for every class
    adjusted: list[float | None] = list(holm(known)) if known else [None] * len(order)
    named = np.asarray(groups)
    return [
        ClassGain(
            classes[number],
            trained[number],
            len(n),
            paired_bootstrap(a[:, n], b[:, n], RECALL, named[n] if len(named) else (), **bootstrap),
            p,
        )
        for number, n, p in zip(order, of, adjusted, strict=True)
    ]


def agreements(predictions: Mapping[str, NDArray[np.int64]]) -> list[Agreement]:
    """Agreement of every two arms; `predictions` maps each arm to its predicted class indices, (S, N)."""
    return [Agreement(a, b, float((predictions[a] == predictions[b]).mean())) for a, b in combinations(predictions, 2)]
