"""Test images on which two arms disagree, the clearest first.

Shape legend: S seeds, N test images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Disagreement:
    """One test image that `explicit` and the baseline classify differently."""

    image: int
    """Index among the test images."""
    gained: bool
    """True if `explicit` is right and the baseline wrong; False for the reverse."""
    truth: str
    explicit: str
    """Class that `explicit` predicts with most seeds."""
    baseline: str
    share: float
    """Share of the seeds in the direction of `gained`, minus the share in the other direction."""


def disagreements(
    explicit_SN: NDArray[np.int64],
    baseline_SN: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    most: int,
) -> list[Disagreement]:
    """Up to `most` images that `explicit` gains and as many that it loses; the clearest first, classes in turn.

    >>> disagreements(np.array([[1, 0]]), np.array([[0, 0]]), np.array([1, 0]), ("cat", "dog"), most=1)
    [Disagreement(image=0, gained=True, truth='dog', explicit='dog', baseline='cat', share=1.0)]

    Args:
        explicit_SN, baseline_SN: predicted class per seed and image.
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
    """Sort by margin; among equal margins, one image of each class comes before a second one of any class."""
    seen: dict[tuple[float, int], int] = {}
    keyed = []
    for image in images[np.argsort(-margin[images], kind="stable")]:
        key = float(margin[image]), int(labels[image])
        seen[key] = seen.get(key, 0) + 1
        keyed.append((-key[0], seen[key], int(image)))
    return [image for _, _, image in sorted(keyed)]
