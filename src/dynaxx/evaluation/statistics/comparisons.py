"""Arms against each other: who is right more often, where, and how often they say the same.

Shape legend: S seeds, N test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.arms.registry import BASELINE, EXPLICIT, IMPLICIT, arms_where
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
"""Single-pass rivals, with which `implicit` is compared as well: it is a single pass, too."""


@dataclass(frozen=True)
class Comparison:
    """Arm `a` against arm `b` on the same test images."""

    a: str
    b: str
    difference: Interval
    """Accuracy of a minus accuracy of b, a fraction."""
    mcnemar: list[McNemar]
    """One per seed."""
    sign_flip_p: float | None
    """Of the difference over seeds; None where they are too few to show anything."""
    relative: float
    """Accuracy of a over accuracy of b, minus one."""
    image_p: float
    """Of the split between images that favour a and images that favour b."""

    @property
    def better(self) -> bool:
        """Whether a is proven better than b: the interval says so, and neither images nor seeds contradict."""
        return self.difference.low > 0 and not self.contradicted

    @property
    def worse(self) -> bool:
        """Whether a is proven worse than b."""
        return self.difference.high < 0 and not self.contradicted

    @property
    def contradicted(self) -> str:
        """Reason why an interval that excludes zero proves nothing, or empty; see `statistics/proof.py`."""
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
        """Compare by which images each arm answers correctly: arrays (seeds, images) of bool."""
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
    """What explicit gains over the baseline on the images of one class."""

    name: str
    trained: int
    """Images to train on."""
    images: int
    """Test images."""
    difference: Interval
    """Of the recall, a fraction."""
    holm_p: float | None
    """Sign flips over seeds, adjusted by Holm over all classes; None where the seeds are too few."""


@dataclass(frozen=True)
class Agreement:
    """How often two arms give the same answer, right or wrong: a fraction of images, mean over seeds."""

    a: str
    b: str
    share: float


def pairs(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Which arms are compared: explicit with all, implicit with its rivals, and all with the baseline."""
    found = [(EXPLICIT, arm) for arm in arms if arm not in (EXPLICIT, IMPLICIT)]
    found += [(IMPLICIT, arm) for arm in (EXPLICIT, BASELINE, *ONE_PASS)]
    found += [(arm, BASELINE) for arm in arms if arm not in (EXPLICIT, IMPLICIT, BASELINE)]
    return [(a, b) for a, b in found if a in arms and b in arms]


def compare(correct: Mapping[str, NDArray[np.bool_]], bootstrap: Bootstrap) -> list[Comparison]:
    """The comparisons of `pairs`, from which images each arm answers correctly, (S, N)."""
    return [Comparison.measure(a, b, correct[a], correct[b], **bootstrap) for a, b in pairs(list(correct))]


def class_gains(
    correct: Mapping[str, NDArray[np.bool_]],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    trained: Sequence[int],
    bootstrap: Bootstrap,
) -> list[ClassGain]:
    """Explicit against the baseline, class by class, the rarest in training first; empty where one of them is missing.

    Args:
        labels: (N,).
        trained: images of each class to train on.
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
    """Every two arms, from the class that each gives each image, (S, N)."""
    return [Agreement(a, b, float((predictions[a] == predictions[b]).mean())) for a, b in combinations(predictions, 2)]
