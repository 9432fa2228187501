"""From evidence to an expected gain: least squares over backbones on which resonance was trained and measured.

The pairs lie in `advice.json` beside this file; `python -m experiments.tasks.advice` measured them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynaxx.selection.evidence import Evidence

PAIRS = Path(__file__).with_name("advice.json")
FEATURES = ("share_left", "probe_gain")
"""What the gain is explained by: the share of the label's information that the last layer leaves, and what a linear
probe already finds of it elsewhere."""
CONFIDENCE = 0.8


@dataclass(frozen=True)
class Expectation:
    """A difference in accuracy, in points: what is expected, and where four of five new backbones should lie."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class MeasuredPair:
    """One backbone and task on which both were measured.

    Attributes:
        name: of the two.
        share_left, probe_gain: as in `Evidence`, from a few hundred images.
        gains: explicit's test accuracy minus that of each of "baseline", "direct" and "concat_probe", in points.
    """

    name: str
    share_left: float
    probe_gain: float
    gains: dict[str, float]


def read_pairs(path: Path = PAIRS) -> list[MeasuredPair]:
    """The pairs that `python -m experiments.tasks.advice` wrote."""
    return [MeasuredPair(**pair) for pair in json.loads(path.read_text())["pairs"]]


def expect(evidence: Evidence | MeasuredPair, over: str, pairs: list[MeasuredPair]) -> Expectation:
    """What explicit is expected to gain over the arm `over`, with a prediction interval (statsmodels' OLS)."""
    if over != "baseline":
        # whether a rival does as well does not follow from the evidence; what the pairs share is their mean
        return _predict(np.ones((len(pairs), 1)), [p.gains[over] for p in pairs], np.ones((1, 1)))
    return _predict(_design(pairs), [p.gains[over] for p in pairs], _design([evidence]))


def leave_one_out(pairs: list[MeasuredPair]) -> list[Expectation]:
    """Of each pair what would have been expected of it, had it not been among those calibrated on."""
    return [expect(pair, "baseline", [p for p in pairs if p is not pair]) for pair in pairs]


def _design(pairs: Any) -> np.ndarray:
    return np.array([[1.0, *(getattr(pair, feature) for feature in FEATURES)] for pair in pairs])


def _predict(design: np.ndarray, gains: list[float], new_design: np.ndarray) -> Expectation:
    from statsmodels.api import OLS

    found = OLS(np.array(gains), design).fit().get_prediction(new_design).summary_frame(alpha=1 - CONFIDENCE).iloc[0]
    return Expectation(float(found["mean"]), float(found["obs_ci_lower"]), float(found["obs_ci_upper"]))
