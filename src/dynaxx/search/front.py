"""What a sweep found: the trials that no other one beats, and the one to take."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from dynaxx.search.study import FINITE

LIVE, SECONDS = "live_parameters", "train_seconds"
"""Attributes of a trial, beside its values."""

COST = "gflops"


@dataclass(frozen=True)
class Point:
    """One trial.

    Attributes:
        number: of the trial.
        params: dotted key → value.
        accuracy: on validation, mean over the sweep's seeds.
        gflops: of one image.
        live_parameters: that the output depends on.
        train_seconds: of all seeds.
        latency_ratio: to the bare backbone's, measured for the points of a front; else None.
    """

    number: int
    params: dict[str, Any]
    accuracy: float
    gflops: float
    live_parameters: int
    train_seconds: float
    latency_ratio: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self)


def points(study: optuna.Study) -> list[Point]:
    """The trials that ended with an accuracy, by number; those of diverged trainings and pruned ones are left out."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [_point(trial) for trial in trials if trial.constraints.get(FINITE, 0.0) <= 0]


def best(study: optuna.Study) -> list[Point]:
    """The front of accuracy and GFLOPs, the cheapest first; with one objective the best trials within the limit."""
    found: dict[str, Point] = {}
    for trial in study.best_trials:
        if all(value <= 0 for value in trial.constraints.values()):
            found.setdefault(repr(sorted(trial.params.items())), _point(trial))  # the same values may be drawn twice
    return sorted(found.values(), key=lambda point: (point.gflops, -point.accuracy))


def knee(front: Sequence[Point]) -> Point:
    """The point of a front farthest above the straight line from its cheapest to its most accurate point.

    Both axes are scaled to the front's extent first. Of a front with no such point, two or a straight line, the most
    accurate one. After Satopää et al., "Finding a 'Kneedle' in a Haystack" (2011).

    Raises:
        ValueError: an empty front.
    """
    if not front:
        raise ValueError("a front without points has no knee")
    ordered = sorted(front, key=lambda point: (point.gflops, point.accuracy))
    costs, values = np.array([p.gflops for p in ordered]), np.array([p.accuracy for p in ordered])
    if np.ptp(costs) == 0 or np.ptp(values) == 0:
        return max(ordered, key=lambda point: point.accuracy)
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
