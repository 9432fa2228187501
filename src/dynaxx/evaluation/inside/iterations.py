"""Explicit run for longer and shorter than it was trained with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.data.progress import track
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.statistics.paired import Bootstrap, Interval, paired_bootstrap


@dataclass(frozen=True)
class Iterations:
    """Explicit, run for T iterations instead of those that it was trained with."""

    T: int
    settled: dict[str, float]
    """By solver: share of the images whose residual is within the tolerance at every tap by then; of the first seed."""
    accuracy_per_seed: list[float]
    difference: Interval
    """Accuracy minus that with the T of training, a fraction."""


def iterations(
    loops: Sequence[ResonantModel],
    images: Tensor,
    labels: NDArray[np.int64],
    T: Sequence[int],
    settled: Mapping[str, Sequence[float]],
    bootstrap: Bootstrap,
) -> list[Iterations]:
    """Each of `T`, against the number that the loops were trained with.

    Args:
        loops: explicit, one a seed.
        images: normalised.
        settled: by solver, the share of images that has settled after 1, 2, … iterations.
    """
    correct: dict[int | None, NDArray[np.bool_]] = {}
    for steps in track([None, *T], "running longer and shorter"):
        rows = []
        for loop in loops:
            trained, loop.T = loop.T, loop.T if steps is None else steps
            rows.append(logits(loop, images).argmax(1).numpy() == labels)
            loop.T = trained
        correct[steps] = np.stack(rows)
    own = correct.pop(None)
    return [
        Iterations(
            steps,
            {solver: shares[steps - 1] for solver, shares in settled.items()},
            [float(row.mean()) for row in rows],
            paired_bootstrap(rows, own, **bootstrap),
        )
        for steps, rows in correct.items()
        if steps is not None
    ]
