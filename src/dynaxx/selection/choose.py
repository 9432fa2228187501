"""The choice of taps (tapped layers) by their scores: one tap from each part of the depth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dynaxx import ResonanceError
from dynaxx.selection.scores import Score
from dynaxx.tasks import Metric

METRICS = {"iou": "IoU", "rmse": "RMSE", "auroc": "AUROC", "macro_recall": "macro recall"}
"""Metric → its name in reasons, where that is another."""


@dataclass(frozen=True)
class Choice:
    """The chosen taps in depth order, and the reason for the choice."""

    chosen: list[str]
    reason: str


def choose(scores: Sequence[Score], taps: int, metric: Metric, *, behind: bool = True, deep: int = 0) -> Choice:
    """Cut the depth of the backbone into `taps` equal parts and take the best candidate layer of each part.

    Within a part the candidate with the largest probe gain is best. Candidates within one standard error of this gain
    count as equal, and the least redundant of them is taken.

    The last part is another matter. Where the output is read behind the last tap, through the rest of the network, its
    last candidate is taken: messages written there reach the output at once. Where heads read the taps alone, nothing
    behind the last tap is seen, the last layer neither. The deepest tap then stands in the last layer's place, and is
    the candidate that knows most alone: the best value; of those within one standard error, which is that of the probe
    gain, the most bits about the label.

    Without labels the least redundant candidate of each part is taken, and the last one.

    >>> choose(scores, 3, Metric("accuracy")).chosen
    ['layer1', 'layer3', 'layer4']

    Args:
        scores: scores of the candidates in depth order.
        taps: number of taps to choose, at least 2.
        metric: metric of the scores.
        behind: whether the output is read behind the last tap, not of the taps.
        deep: number of last candidates that come behind the last stage; they belong to the last part.

    Raises:
        ResonanceError: fewer candidates than taps, or fewer than two taps.
    """
    if taps < 2:
        raise ResonanceError(f"select.taps={taps}: give at least 2, one tap has nothing to couple to")
    if taps > len(scores):
        raise ResonanceError(f"select.taps={taps}: only {len(scores)} layers can be coupled; give at most that")
    depth = max(len(scores) - deep, taps)
    bounds = [*(depth * part // taps for part in range(taps)), len(scores)]
    parts = [scores[start:stop] for start, stop in pairwise(bounds)]
    chosen, reasons = [], []
    for part in parts[:-1]:
        gains = [s.probe_gain for s in part]
        pick = min(_equal(part, gains), key=lambda s: s.redundancy)
        chosen.append(pick.tap)
        reasons.append(f"{pick.tap} ({_among(part)}: {_gain(pick, metric)}redundancy {pick.redundancy:.2f})")
    last = parts[-1][-1]
    told = "the output is read behind it" if behind else "the last layer"
    if not behind and last.value is not None:
        values = [None if s.value is None else metric.oriented(s.value) for s in parts[-1]]
        last = max(_equal(parts[-1], values), key=lambda s: s.mutual_information or 0.0)
        told = f"{_among(parts[-1])}, in the last layer's place: alone {_value(last, metric)}"
    return Choice([*chosen, last.tap], "; ".join([*reasons, f"{last.tap} ({told})"]))


def _equal(part: Sequence[Score], values: Sequence[float | None]) -> list[Score]:
    """The best candidates of a part, and those within one standard error of the best; all without values."""
    known = [(value, s) for value, s in zip(values, part, strict=True) if value is not None]
    if not known:
        return list(part)
    best, of_best = max(known, key=lambda one: one[0])
    return [s for value, s in known if value >= best - (of_best.standard_error or 0.0)]


def _among(part: Sequence[Score]) -> str:
    return f"best of {len(part)} in its part of the depth" if len(part) > 1 else "alone in its part of the depth"


def _gain(score: Score, metric: Metric) -> str:
    """'probe gain +3.1 ± 0.8 points of accuracy, '; empty without labels."""
    if score.probe_gain is None or score.standard_error is None:
        return ""
    form, scale, unit = _form(metric)
    return f"probe gain {form('+', scale * score.probe_gain)} ± {form('', scale * score.standard_error)}{unit}, "


def _value(score: Score, metric: Metric) -> str:
    form, scale, _ = _form(metric)
    unit = " %" if scale == 100 else f" {metric.unit}".rstrip()
    return f"{METRICS.get(metric.name, metric.name)} {form('', scale * (score.value or 0.0))}{unit}"


def _form(metric: Metric) -> tuple[Callable[[str, float], str], int, str]:
    """How numbers of a metric are written, their factor, and the unit of a gain."""
    name = METRICS.get(metric.name, metric.name)
    if metric.root or metric.unit:
        unit = f" {metric.unit}" if metric.unit else ""
        return lambda sign, x: f"{x:{sign}.3g}", 1, f"{unit} of {name}"
    return lambda sign, x: f"{x:{sign}.1f}", 100, f" points of {name}"
