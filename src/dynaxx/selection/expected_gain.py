"""The expected gain of reading other layers, by least squares over tasks and networks on which it was measured.

    gain = a + b · (what a linear reading of all layers gains on a few hundred images, cross-validated)

`python -m experiments.suite.advice` writes the measurements to `advice.json` beside this file. Gains are points of a
score, or per cent of an error.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynaxx.selection.evidence import Evidence

PAIRS = Path(__file__).with_name("advice.json")
FEATURES = ("probe_gain",)
"""Regressors of the gain. The information that the last layer lacks adds nothing to it: its forecasts of tasks that
were left out are no better, and they need a scale that masks and numbers do not have."""
CONFIDENCE = 0.8
"""Confidence level of the prediction intervals."""


@dataclass(frozen=True)
class Expectation:
    """An expected gain, in points or per cent, with the 80 % prediction interval for a new task."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class MeasuredPair:
    """One pair of backbone and task on which evidence and gains were measured.

    >>> MeasuredPair("cifar10, two groups", 0.2, 0.03, {"baseline": 2.1, "direct": 0.1, "concat_probe": 0.4})

    Attributes:
        name: the task, then what tells it from others of the same data; a task is left out as a whole.
        share_left, probe_gain: fields of `Evidence`, from a few hundred images.
        gains: under `baseline` what reading other layers gained on test over the last one; under other arms what
            `explicit` gained over them. Points of a score, or per cent of an error.
    """

    name: str
    share_left: float
    probe_gain: float
    gains: dict[str, float]

    @property
    def task(self) -> str:
        """The task, without what tells it from others of the same data."""
        return self.name.partition(",")[0]


def read_pairs(path: Path = PAIRS) -> list[MeasuredPair]:
    """Read the pairs of backbone and task written by `python -m experiments.suite.advice`."""
    return [MeasuredPair(**pair) for pair in json.loads(path.read_text())["pairs"]]


def expect(evidence: Evidence | MeasuredPair, over: str, pairs: list[MeasuredPair]) -> Expectation:
    """Expected gain of resonance over the competitor `over`, with a prediction interval (statsmodels' OLS)."""
    if over != "baseline":
        # the evidence does not predict the gain over a rival, so the mean of the pairs is the whole model
        known = [p.gains[over] for p in pairs if over in p.gains]
        return _predict(np.ones((len(known), 1)), known, np.ones((1, 1)))
    return _predict(_design(pairs), [p.gains[over] for p in pairs], _design([evidence]))


def leave_task_out(pairs: list[MeasuredPair]) -> list[Expectation]:
    """Expected gain of each pair of backbone and task, from a fit to the pairs of all other tasks."""
    return [expect(pair, "baseline", [p for p in pairs if p.task != pair.task]) for pair in pairs]


def _design(pairs: Any) -> np.ndarray:
    return np.array([[1.0, *(getattr(pair, feature) for feature in FEATURES)] for pair in pairs])


def _predict(design: np.ndarray, gains: list[float], new_design: np.ndarray) -> Expectation:
    from statsmodels.api import OLS

    found = OLS(np.array(gains), design).fit().get_prediction(new_design).summary_frame(alpha=1 - CONFIDENCE).iloc[0]
    return Expectation(float(found["mean"]), float(found["obs_ci_lower"]), float(found["obs_ci_upper"]))
