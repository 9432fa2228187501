"""Test accuracy of the arm `explicit` with more and fewer loop iterations than in training."""

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
    """Test accuracy and convergence of `explicit` with T loop iterations instead of the trained number."""

    T: int
    settled: dict[str, float]
    """Solver → share of images that converged at every tapped layer after T iterations, with the first seed."""
    accuracy_per_seed: list[float]
    difference: Interval
    """Test accuracy minus the test accuracy with the trained number of iterations, as a fraction."""


def iterations(
    loops: Sequence[ResonantModel],
    images: Tensor,
    labels: NDArray[np.int64],
    T: Sequence[int],
    settled: Mapping[str, Sequence[float]],
    bootstrap: Bootstrap,
) -> list[Iterations]:
    """Test accuracy with each number of iterations in `T`, compared with the trained number.

    >>> settled = {"picard": settled_shares(model, images, 10, 0.01, "picard")}
    >>> [result.T for result in iterations([model], images, labels, [3, 10], settled, bootstrap)]
    [3, 10]

    Args:
        loops: trained models of the arm `explicit`, one per seed.
        images: normalised test images.
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
