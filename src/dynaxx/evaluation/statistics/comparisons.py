"""Arms against each other: who is right more often, where, and how often they say the same.

Shape legend: S seeds, N test images.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.arms.registry import BASELINE, EXPLICIT, IMPLICIT, arms_where
from dynaxx.evaluation.results import Agreement, ClassGain, Comparison
from dynaxx.evaluation.statistics.paired import Bootstrap, holm, paired_bootstrap, sign_flip

ONE_PASS = arms_where(lambda arm: arm.one_pass)
"""Single-pass rivals, with which `implicit` is compared as well: it is a single pass, too."""


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
