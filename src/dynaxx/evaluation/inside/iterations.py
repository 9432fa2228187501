"""Accuracy of `explicit` with more and fewer iterations than in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.data import track
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.statistics import Bootstrap, Interval, paired_bootstrap


@dataclass(frozen=True)
class Iterations:
    """Result of `explicit` with T iterations instead of the trained number."""

    T: int
    settled: dict[str, float]
    """Solver → share of images whose residual is within the tolerance at every tap after T iterations; first seed."""
    accuracy_per_seed: list[float]
    difference: Interval
    """Accuracy minus the accuracy with the trained T, a fraction."""


def iterations(
    loops: Sequence[ResonantModel],
    images: Tensor,
    labels: NDArray[np.int64],
    T: Sequence[int],
    settled: Mapping[str, Sequence[float]],
    bootstrap: Bootstrap,
) -> list[Iterations]:
    """Accuracy with each number in `T`, compared with the trained number of iterations.

    >>> settled = {"picard": settled_shares(model, images, 10, 0.01, "picard")}
    >>> [result.T for result in iterations([model], images, labels, [3, 10], settled, bootstrap)]
    [3, 10]

    Args:
        loops: models of `explicit`, one per seed.
        images: normalised.
        settled: solver → share of converged images after 1, 2, … iterations.
    """
    correct: dict[int | None, NDArray[np.bool_]] = {}
    for steps in track([None, *T], "running longer and shorter"):
        rows = []
        for loop in loops:
            with loop.override(T=loop.T if steps is None else steps):
                rows.append(logits(loop, images).argmax(1).numpy() == labels)
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
