"""The long tail per class: the gain of explicit in classes with few training images.

Shape legend: S seeds, N test images.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from dynaxx.evaluation.arms import named
from dynaxx.evaluation.statistics import holm, mean_interval, sign_flip
from experiments.analysis.tables import points
from experiments.findings import EXPLICIT
from experiments.markdown import markdown
from experiments.predictions import FOLDER, LABELS, SUFFIX, read_scores
from experiments.tasks.cifar10 import CIFAR10, TAIL

COMPARED = named("baseline", "direct")
"""Rivals of explicit in the table."""

Predictions = Mapping[int, NDArray[np.float64]]
"""Seed → 1 for each correctly predicted image and 0 for the others, (N,)."""


def class_gain_table(condition: str) -> str:
    """One row per class, the rarest first; p by sign flips over seeds, with Holm correction over the classes."""
    scores, labels = read_scores()[condition], load_file(FOLDER / f"{condition}{SUFFIX}")[LABELS].numpy()
    most, last = TAIL["task.imbalance"], len(CIFAR10) - 1
    rows = [[name, f"{100 * most ** (-k / last):.0f}"] for k, name in enumerate(CIFAR10)]
    for rival in COMPARED:
        for row, cells in zip(rows, class_gains(scores[EXPLICIT], scores[rival], labels), strict=True):
            row += cells
    header = [cell for rival in COMPARED for cell in (f"explicit − {rival}", "p, Holm")]
    return markdown(["class", "images to train on, % of the first's", *header], rows[::-1])


def class_gains(own: Predictions, other: Predictions, labels: NDArray[np.uint8]) -> list[tuple[str, str]]:
    """Difference in recall of each class, in points with its interval, and p; `labels` are (N,)."""
    seeds = sorted(set(own) & set(other))
    gaps_SN = np.stack([own[seed] - other[seed] for seed in seeds])
    of_class = [gaps_SN[:, labels == number] for number in np.unique(labels)]
    p = [sign_flip(gaps.mean(1).tolist(), [0.0] * len(seeds)) for gaps in of_class]
    known = [value for value in p if value is not None]
    adjusted = [f"{value:.3f}" for value in holm(known)] if known else ["too few seeds"] * len(p)
    return [(points(mean_interval(gaps.mean(0))), p_text) for gaps, p_text in zip(of_class, adjusted, strict=True)]
