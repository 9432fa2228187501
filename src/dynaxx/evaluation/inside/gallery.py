"""Test images on which the arm `explicit` and the baseline disagree, the clearest disagreements first.

Shape legend: S seeds, N test images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Disagreement:
    """One test image that `explicit` and the baseline (linear probe or own head) classify differently."""

    image: int
    """Index of the image among the test images."""
    gained: bool
    """True if `explicit` is right and the baseline is wrong; False for the reverse."""
    truth: str
    explicit: str
    """Class that `explicit` predicts with most seeds."""
    baseline: str
    share: float
    """Share of seeds in which the winning model is right, minus the share in which the losing one is right."""


def disagreements(
    explicit_SN: NDArray[np.int64],
    baseline_SN: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    most: int,
) -> list[Disagreement]:
    """Up to `most` images that `explicit` gains over the baseline, and up to `most` that `explicit` loses.

    The clearest images come first; among equally clear images, classes take turns.

    >>> disagreements(np.array([[1, 0]]), np.array([[0, 0]]), np.array([1, 0]), ("cat", "dog"), most=1)
    [Disagreement(image=0, gained=True, truth='dog', explicit='dog', baseline='cat', share=1.0)]

    Args:
        explicit_SN, baseline_SN: predicted class of either model per seed and image, (S, N).
    """
    margin = (explicit_SN == labels).mean(0) - (baseline_SN == labels).mean(0)
    usual = [np.array([np.bincount(a).argmax() for a in predicted.T]) for predicted in (explicit_SN, baseline_SN)]
    chosen = []
    for gained in (True, False):
        signed = margin if gained else -margin
        differ = np.flatnonzero((signed > 0) & (usual[0] != usual[1]))
        for image in _spread(differ, signed, labels)[:most]:
            truth, explicit, baseline = (classes[number[image]] for number in (labels, *usual))
            chosen.append(Disagreement(image, gained, truth, explicit, baseline, float(signed[image])))
    return chosen


def _spread(images: NDArray[np.int64], margin: NDArray[np.float64], labels: NDArray[np.int64]) -> list[int]:
    """Sort images by margin; among equal margins, each class appears once before any class appears twice."""
    seen: dict[tuple[float, int], int] = {}
    keyed = []
    for image in images[np.argsort(-margin[images], kind="stable")]:
        key = float(margin[image]), int(labels[image])
        seen[key] = seen.get(key, 0) + 1
        keyed.append((-key[0], seen[key], int(image)))
    return [image for _, _, image in sorted(keyed)]
