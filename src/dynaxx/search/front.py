"""The results of a sweep (hyperparameter search): the Pareto front of its trials, and the point to choose."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from dynaxx.search.study import FINITE
from dynaxx.tasks import Metric

LIVE, SECONDS = "live_parameters", "train_seconds"
"""Names of two attributes of a trial: its number of parameters that affect the output, and its training seconds."""

COST = "gflops"
"""Name of the attribute of a trial that holds its GFLOPs per image."""


@dataclass(frozen=True)
class Point:
    """One trial of a sweep.

    >>> point = Point(3, {"resonance.T": 4}, score=0.9, gflops=0.2, live_parameters=9000, train_seconds=60.0)

    Attributes:
        number: number of the trial.
        params: tuned parameters, dotted key of params.yaml → value.
        score: the task's metric on validation images, mean over the sweep's seeds.
        gflops: GFLOPs per image.
        live_parameters: number of trainable parameters that the output depends on.
        train_seconds: training time of all seeds together.
        latency_ratio: latency relative to the bare backbone's, measured for the points of a front; else None.
    """

    number: int
    params: dict[str, Any]
    score: float
    gflops: float
    live_parameters: int
    train_seconds: float
    latency_ratio: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as a dictionary, ready for JSON."""
        return asdict(self)


def points(study: optuna.Study) -> list[Point]:
    """The completed trials, sorted by number, without trials that were pruned or whose training diverged."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [_point(trial) for trial in trials if trial.constraints.get(FINITE, 0.0) <= 0]


def best(study: optuna.Study) -> list[Point]:
    """The Pareto front of metric and GFLOPs, cheapest first; with one objective, the best within the cost limit."""
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    found: dict[str, Point] = {}
    for trial in study.best_trials:
        if all(value <= 0 for value in trial.constraints.values()):
            found.setdefault(repr(sorted(trial.params.items())), _point(trial))  # the same values may be drawn twice
    return sorted(found.values(), key=lambda point: (point.gflops, sign * point.score))


def knee(front: Sequence[Point], metric: Metric) -> Point:
    """The point farthest on the better side of the straight line from the cheapest to the best point of a front.

    Metric and GFLOPs are first scaled to the range that the front covers. If no point lies on that side of
    the line, the best point is returned. Source: Satopää et al., "Finding a 'Kneedle' in a Haystack" (2011).

    >>> knee(best(study), Metric("accuracy")).params
    {'resonance.T': 4}

    Raises:
        ValueError: the front is empty.
    """
    if not front:
        raise ValueError("a front without points has no knee")
    ordered = sorted(front, key=lambda point: (point.gflops, metric.oriented(point.score)))
    costs, values = np.array([p.gflops for p in ordered]), np.array([metric.oriented(p.score) for p in ordered])
    if np.ptp(costs) == 0 or np.ptp(values) == 0:
        return ordered[int(values.argmax())]
    above = (values - values.min()) / np.ptp(values) - (costs - costs.min()) / np.ptp(costs)
    return ordered[int(above.argmax())] if above.max() > 1e-9 else ordered[-1]


def _point(trial: FrozenTrial) -> Point:
    return Point(
        trial.number,
        dict(trial.params),
        trial.values[0],
        float(trial.user_attrs[COST]),
        int(trial.user_attrs[LIVE]),
        float(trial.user_attrs[SECONDS]),
    )
