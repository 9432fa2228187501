"""Answers as choices between classes, so that errors of different kinds can have different costs.

Shape legend: N samples, P choices per sample, M = N · P choices, C classes.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Choices:
    """What a model holds of each class, and which class it is.

    Example: a classifier makes one choice per image; a segmenter one per pixel, between background and foreground.

    Attributes:
        scores: one log-score per class, (M, C); the plain answer is the class with the largest. Choices of one sample
            follow each other.
        labels: number of the true class, int64 (M,).
        classes: names of the classes.
        samples: N.
    """

    scores: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    samples: int
