"""The expected gain in accuracy, by least squares over the backbones on which resonance was trained and measured.

`python -m experiments.tasks.advice` writes the measurements to `advice.json` beside this file.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynaxx.selection.evidence import Evidence

PAIRS = Path(__file__).with_name("advice.json")
FEATURES = ("share_left", "probe_gain")
"""Regressors of the gain: label information that the last layer lacks, and what a linear probe on all layers gains."""
CONFIDENCE = 0.8
"""Confidence level of the prediction intervals."""


@dataclass(frozen=True)
class Expectation:
    """An expected difference in accuracy, in points, with the 80 % prediction interval for a new backbone."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class MeasuredPair:
    """One pair of backbone and task on which evidence and gains in accuracy were measured.

    >>> MeasuredPair("small_resnet, cifar10", 0.2, 0.03, {"baseline": 2.1, "direct": 0.1, "concat_probe": 0.4})

    Attributes:
        name: names of the backbone and the task.
        share_left, probe_gain: fields of `Evidence`, from a few hundred images.
        gains: arm (competitor) → test accuracy of resonance (arm `explicit`) minus that of the competitor, in points.
    """

    name: str
    share_left: float
    probe_gain: float
    gains: dict[str, float]


def read_pairs(path: Path = PAIRS) -> list[MeasuredPair]:
    """Read the pairs of backbone and task written by `python -m experiments.tasks.advice`."""
    return [MeasuredPair(**pair) for pair in json.loads(path.read_text())["pairs"]]


def expect(evidence: Evidence | MeasuredPair, over: str, pairs: list[MeasuredPair]) -> Expectation:
    """Expected gain of resonance over the competitor `over`, with a prediction interval (statsmodels' OLS)."""
    if over != "baseline":
        # the evidence does not predict the gain over a rival, so the mean of the pairs is the whole model
        return _predict(np.ones((len(pairs), 1)), [p.gains[over] for p in pairs], np.ones((1, 1)))
    return _predict(_design(pairs), [p.gains[over] for p in pairs], _design([evidence]))


def leave_one_out(pairs: list[MeasuredPair]) -> list[Expectation]:
    """Expected gain of each pair of backbone and task, from a fit to all other pairs."""
    return [expect(pair, "baseline", [p for p in pairs if p is not pair]) for pair in pairs]


def _design(pairs: Any) -> np.ndarray:
    return np.array([[1.0, *(getattr(pair, feature) for feature in FEATURES)] for pair in pairs])


def _predict(design: np.ndarray, gains: list[float], new_design: np.ndarray) -> Expectation:
    from statsmodels.api import OLS

    found = OLS(np.array(gains), design).fit().get_prediction(new_design).summary_frame(alpha=1 - CONFIDENCE).iloc[0]
    return Expectation(float(found["mean"]), float(found["obs_ci_lower"]), float(found["obs_ci_upper"]))
