"""Tables of results on validation images: tuning, choice of tapped layers (taps), model sizes, fewer labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynaxx.evaluation.formatting import cell, gained, in_points, label, number, titled, unit_of_gain
from dynaxx.evaluation.report.table import Table
from dynaxx.evaluation.validation import LabelPoint, SizePoint, Tuned
from dynaxx.tasks import Metric

IN_METRIC = ("value", "probe_gain", "standard_error")
"""Scores of layers in the unit of the task's metric."""


@dataclass(frozen=True)
class Choices:
    """Validation scores of trainings with a seed that the evaluation on test images does not use.

    A score is the task's metric, in its own unit.
    """

    tuned: Sequence[Tuned] = ()
    size_curve: Sequence[SizePoint] = ()
    label_curve: Sequence[LabelPoint] = ()


def tuning_table(results: Sequence[Tuned], metric: Metric) -> Table:
    """One row per arm and tuned setting: validation score of each value, the chosen value, and if it is flat."""
    return Table(
        headers=["arm", "setting", f"tried: {titled(metric)}", "chosen", "flat there"],
        rows=[
            [
                tuned.arm,
                tuned.setting,
                ", ".join(f"{v:g}: {_told(a, metric)}" for v, a in zip(tuned.values, tuned.scores, strict=True)),
                f"{tuned.chosen:g}",
                "edge" if tuned.at_the_edge else "yes" if tuned.flat else "no",
            ]
            for tuned in results
        ],
        note=(
            "On validation, on a seed that is not evaluated, as many trials for every arm; epochs are tried with "
            "the learning rate that was chosen. Flat: the values beside the chosen one lose at most 1 % of its score; "
            "edge: a value beyond those tried might do better."
        ),
    )


def size_curve_table(results: Sequence[SizePoint], metric: Metric) -> Table:
    """One row per coupling rank and per number of tapped layers: the metric of `explicit` on validation."""
    return Table(
        headers=["varied", "live parameters", f"validation {titled(metric)}", "taps"],
        rows=[
            [f"{v.what} {v.value}", f"{v.live_parameters:,}", _told(v.score, metric), ", ".join(v.taps)]
            for v in results
        ],
        note=(
            "Explicit trained with another rank, or with taps evenly over the depth, everything else as configured; "
            "on validation of one seed that is not evaluated, so small differences mean nothing."
        ),
    )


def label_curve_table(results: Sequence[LabelPoint], metric: Metric) -> Table:
    """One row per number of labelled training images: the metric of each arm on validation."""
    arms = list(dict.fromkeys(point.arm for point in results))
    scores = {(point.labels, point.arm): _told(point.score, metric) for point in results}
    return Table(
        headers=["labels", *(f"{arm}: validation {titled(metric)}" for arm in arms)],
        rows=[
            [f"{labels:,}", *(scores.get((labels, arm), "–") for arm in arms)]
            for labels in sorted({point.labels for point in results})
        ],
        note=(
            "Trained on so many images, with more passes over them the fewer they are, E √(N / n); everything else, "
            "learning rates too, as configured. One seed that is not evaluated, so small differences mean nothing."
        ),
    )


def selection_table(selection: dict[str, Any]) -> Table:
    """One row per layer that could be tapped, with the scores of the selection; chosen layers are highlighted."""
    candidates: list[dict[str, Any]] = selection["candidates"]
    columns = list(dict.fromkeys(key for candidate in candidates for key in candidate))
    metric = Metric(**selection["metric"]) if "metric" in selection else None
    return Table(
        headers=[_head(column, metric) for column in columns],
        rows=[[_score(column, candidate.get(column), metric) for column in columns] for candidate in candidates],
        note=str(selection["reason"]),
        marked=tuple(map(str, selection["chosen"])),
    )


def _told(score: float | None, metric: Metric) -> str:
    return "diverged" if score is None else cell(score, metric)


def _head(column: str, metric: Metric | None) -> str:
    """The head of a column of scores, with its unit: 'alone, accuracy %', 'probe gain, points of accuracy'."""
    if metric is None or column not in IN_METRIC:
        return {"mutual_information": "bits about the label"}.get(column, column.replace("_", " "))
    if column == "value":
        return f"alone, {titled(metric)}"
    unit = " ".join(part for part in (unit_of_gain(metric), "of", label(metric.name)) if part)
    return f"{column.replace('_', ' ')}, {unit}"


def _score(column: str, value: Any, metric: Metric | None) -> str:
    if metric is None or column not in IN_METRIC or not isinstance(value, float):
        return _cell(value)
    if not in_points(metric):
        return gained(value, metric, unit=False) if column == "probe_gain" else number(value)
    return f"{100 * value:{'+' if column == 'probe_gain' else ''}.1f}".replace("-", "−")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}".replace("-", "−")
    return str(value)
