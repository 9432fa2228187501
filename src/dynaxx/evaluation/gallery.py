"""Test images on which the best reading and the probe disagree, the clearest disagreements first.

Shape legend: S seeds, N test images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Disagreement:
    """One test image that the best reading and the probe classify differently."""

    image: int
    """Index of the image among the test images."""
    gained: bool
    """True if the reading is right and the probe is wrong; False for the reverse."""
    truth: str
    reading: str
    """Class that the reading predicts with most seeds."""
    probe: str
    share: float
    """Share of seeds in which the winning model is right, minus the share in which the losing one is right."""


def disagreements(
    reading_SN: NDArray[np.int64],
    probe_SN: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    most: int,
) -> list[Disagreement]:
    """Up to `most` images that the reading gains over the probe, and up to `most` that it loses.

    The clearest images come first; among equally clear images, classes take turns.

    >>> disagreements(np.array([[1, 0]]), np.array([[0, 0]]), np.array([1, 0]), ("cat", "dog"), most=1)
    [Disagreement(image=0, gained=True, truth='dog', reading='dog', probe='cat', share=1.0)]

    Args:
        reading_SN, probe_SN: predicted class of either model per seed and image, (S, N).
    """
    margin = (reading_SN == labels).mean(0) - (probe_SN == labels).mean(0)
    usual = [np.array([np.bincount(a).argmax() for a in predicted.T]) for predicted in (reading_SN, probe_SN)]
    chosen = []
    for gained in (True, False):
        signed = margin if gained else -margin
        differ = np.flatnonzero((signed > 0) & (usual[0] != usual[1]))
        for image in _spread(differ, signed, labels)[:most]:
            truth, reading, probe = (classes[number[image]] for number in (labels, *usual))
            chosen.append(Disagreement(image, gained, truth, reading, probe, float(signed[image])))
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
