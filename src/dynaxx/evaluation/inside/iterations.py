"""The metric of the arm `explicit` on test samples with more and fewer loop iterations than in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynaxx import ResonantModel
from dynaxx.data import track
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.statistics import Interval, Scores


@dataclass(frozen=True)
class Iterations:
    """The metric and the convergence of `explicit` with T loop iterations instead of the trained number."""

    T: int
    settled: dict[str, float]
    """Solver → share of images that converged at every tapped layer after T iterations, with the first seed."""
    value_per_seed: list[float]
    gain: Interval
    """Gain over the trained number of iterations, in the metric's unit."""


def iterations(
    loops: Sequence[ResonantModel], judge: Judge, T: Sequence[int], settled: Mapping[str, Sequence[float]]
) -> list[Iterations]:
    """The metric with each number of iterations in `T`, compared with the trained number.

    >>> settled = {"picard": settled_shares(model, images, 10, 0.01, "picard")}
    >>> [result.T for result in iterations([model], judge, [3, 10], settled)]
    [3, 10]

    Args:
        loops: trained models of the arm `explicit`, one per seed.
        judge: judge of the test samples.
        T: numbers of iterations.
        settled: solver → share of converged images after 1, 2, … iterations.
    """
    scores: dict[int | None, Scores] = {}
    for steps in track([None, *T], "running longer and shorter"):
        rows = []
        for loop in loops:
            with loop.override(T=loop.T if steps is None else steps):
                rows.append(judge.outputs(loop))
        scores[steps] = judge.scores(rows)
    own = scores.pop(None)
    return [
        Iterations(
            steps,
            {solver: shares[steps - 1] for solver, shares in settled.items()},
            judge.values(found),
            judge.gain(found, own),
        )
        for steps, found in scores.items()
        if steps is not None
    ]
