"""What the suite is held to, case by case: a number, and whether the results reach it.

Shape legend: S seeds, N test samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dynaxx.evaluation import cell, gained
from dynaxx.evaluation.arms import BASELINE
from experiments.suite.results import CaseResults
from experiments.suite.standing import Standing, standing


@dataclass(frozen=True)
class Judged:
    """A bar, what was measured, and whether it is met.

    >>> Judged("best reading ≥ probe + 5 points", "+6.04 points", True).met
    True
    """

    bar: str
    found: str
    met: bool


Bar = Callable[[CaseResults, Standing], Judged]
"""Function that judges the results of one case."""


def gain_over_probe(points: float) -> Bar:
    """The best reading on validation gains so many points over the last layer alone."""

    def judged(results: CaseResults, now: Standing) -> Judged:
        gain = now.best.over_probe.difference
        return Judged(
            f"best reading ≥ probe + {points:g} points",
            f"{now.best.arm} {gained(gain.estimate, now.metric)}",
            gain.estimate >= points / 100,
        )

    return judged


def no_worse_than(arm: str) -> Bar:
    """The best reading on validation is as good as one arm on test."""

    def judged(results: CaseResults, now: Standing) -> Judged:
        best, other = now.best.value, now.arms[arm].value
        return Judged(
            f"best reading ≥ `{arm}`",
            f"{now.best.arm} {cell(best, now.metric)}, {arm} {cell(other, now.metric)}",
            now.metric.gain(best, other) >= 0,
        )

    return judged


def reaches(value: float, most_parameters: float = float("inf")) -> Bar:
    """The best reading on validation of at most so many parameters reaches a value of the metric."""

    def judged(results: CaseResults, now: Standing) -> Judged:
        few = [arm for arm in now.readings if arm.live <= most_parameters]
        best = max(few, key=lambda arm: now.metric.oriented(arm.validation))
        sign = "≥" if now.metric.higher_is_better else "≤"
        size = f" with at most {most_parameters:,.0f} parameters" if most_parameters < float("inf") else ""
        return Judged(
            f"best reading {sign} {cell(value, now.metric)}{size}",
            f"{best.arm} {cell(best.value, now.metric)}, {best.live:,} parameters",
            now.metric.gain(best.value, value) >= 0,
        )

    return judged


def recall_of(name: str, points: float) -> Bar:
    """The best reading on validation finds so many points more of one class than the last layer alone."""

    def judged(results: CaseResults, now: Standing) -> Judged:
        labels = np.array(results.about["labels"])
        mine = labels == results.about["classes"].index(name)

        def recall(arm: str) -> float:
            return float(np.mean([scores.values[0][mine].mean() for scores in results.scores[arm].values()]))

        gain = recall(now.best.arm) - recall(BASELINE)
        return Judged(
            f"recall of {name} + {points:g} points over the probe",
            f"{now.best.arm} {100 * gain:+.1f} points, from {100 * recall(BASELINE):.1f} %",
            gain >= points / 100,
        )

    return judged


def nothing_gained(results: CaseResults, now: Standing) -> Judged:
    """No reading has a proven gain of 2 % or more: the network knows the task."""
    gains = [arm for arm in now.readings if arm.over_probe.better]
    proven = [arm.arm for arm in gains if (arm.over_probe.relative or 0.0) >= 0.02]
    return Judged("no reading gains", ", ".join(proven) or "none does", not proven)


BARS: dict[str, tuple[Bar, ...]] = {
    "digits-600": (gain_over_probe(5), no_worse_than("layer_probe")),
    "digits-100": (gain_over_probe(12), no_worse_than("layer_probe")),
    "sediment": (reaches(0.28),),
    "landcover": (gain_over_probe(1.5),),
    "landcover-rare-river": (recall_of("river", 10),),
    "polyps-100": (reaches(0.56, 30_000),),
    "birds": (nothing_gained,),
}
"""Case → its bars."""


WHY: dict[str, str] = {
    "sediment": (
        "25 photographs of a few groups choose badly. The linear reading of three taps is best on test and last on "
        "validation among the readings. Tried: heads that keep the penalty of their linear fit, 40 and 120 epochs, "
        "three learning rates."
    ),
    "landcover": (
        "readings gain on validation, which holds other tens of numbers of the same series, and lose on test, which "
        "holds other places. Tried: groups kept whole, the map behind the last stage as a tap, the head's penalty, 15 "
        "and 40 epochs, three learning rates."
    ),
}
"""Why bars of a case are missed, and what was tried."""


def judged(case: str, results: CaseResults) -> list[Judged]:
    """The bars of a case, judged; none where its readings are not complete.

    >>> judged("a task of mine", results)  # doctest: +SKIP
    []
    """
    now = standing(results)
    return [bar(results, now) for bar in BARS.get(case, ())] if now.readings else []
