"""What the suite is held to, case by case: a number, and whether the results reach it.

Shape legend: S seeds, N test samples.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dynaxx.evaluation import cell, gained
from dynaxx.evaluation.arms import BASELINE, EXPLICIT
from experiments.suite.cases import COMPONENTS, ONE_PASS
from experiments.suite.results import CaseResults
from experiments.suite.standing import Standing, standing


class NotFitted(LookupError):
    """The error for a bar about an arm that has no results yet."""


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
        best, other = now.best.value, _mean(results, arm)
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


def _mean(results: CaseResults, arm: str, there: str = "") -> float:
    """The metric of an arm, mean over seeds; on other samples, or with other iterations, where `there` names them."""
    fits = results.fits.get(arm, {}).values()
    if not fits or (there and not all(there in fit.elsewhere for fit in fits)):
        raise NotFitted(f"{arm} {there}".rstrip())
    return float(np.mean([fit.elsewhere[there] if there else fit.test for fit in fits]))


def loop_over_single_passes(points: float, there: str = "", loop_there: str = "") -> Bar:
    """The loop leads every single pass by so many points, at home or on other samples."""

    def judged(results: CaseResults, now: Standing) -> Judged:
        passes = {arm: _mean(results, arm, there) for arm in ("direct", *ONE_PASS) if arm in results.fits}
        if not passes:
            raise NotFitted("single passes")
        best = max(passes, key=lambda arm: passes[arm])
        lead = _mean(results, EXPLICIT, loop_there) - passes[best]
        place = f" on {there}" if there else ""
        return Judged(
            f"loop ≥ every single pass + {points:g} points{place}",
            f"{100 * lead:+.1f} points, {best} {cell(passes[best], now.metric)}",
            lead >= points / 100,
        )

    return judged


def loop_no_worse_than(arm: str) -> Bar:
    """The loop is as good as an arm on test."""

    def judged(results: CaseResults, now: Standing) -> Judged:
        mine, other = _mean(results, EXPLICIT), _mean(results, arm)
        found = f"explicit {cell(mine, now.metric)}, {arm} {cell(other, now.metric)}"
        return Judged(f"loop ≥ `{arm}`", found, now.metric.gain(mine, other) >= 0)

    return judged


def settles(first: str, last: str, points: float) -> Bar:
    """More iterations change the loop's metric by no more than so many points."""

    def judged(results: CaseResults, now: Standing) -> Judged:
        before, after = _mean(results, EXPLICIT, first), _mean(results, EXPLICIT, last)
        return Judged(
            f"loop with {last.partition(', ')[2]} as with {first.partition(', ')[2]}, ± {points:g} point, on "
            f"{first.partition(', ')[0]}",
            f"{cell(before, now.metric)} → {cell(after, now.metric)}",
            abs(after - before) <= points / 100,
        )

    return judged


BARS: dict[str, tuple[Bar, ...]] = {
    "digits-600": (gain_over_probe(5), no_worse_than("layer_probe")),
    "digits-100": (gain_over_probe(12), no_worse_than("layer_probe")),
    "sediment": (reaches(0.28),),
    "landcover": (gain_over_probe(1.5),),
    "landcover-rare-river": (recall_of("river", 10),),
    "polyps-100": (reaches(0.56, 30_000),),
    "click": (
        loop_over_single_passes(8),
        loop_no_worse_than(COMPONENTS),
        loop_over_single_passes(5, "crops of 256", "crops of 256, T=24"),
        settles("crops of 128, T=48", "crops of 128, T=96", 1),
        settles("crops of 256, T=24", "crops of 256, T=96", 1),
    ),
    "birds": (nothing_gained,),
}
"""Case → its bars."""


WHY: dict[str, str] = {
    "sediment": (
        "25 photographs of a few groups choose badly. The linear reading of three taps is best on test and last on "
        "validation among the readings. Tried: heads that keep the penalty of their linear fit, 40 and 120 epochs, "
        "three learning rates."
    ),
    "click": (
        "the dilated pass was built to cover a crop of 128, and is as good there. The classical way learns from masks "
        "of all cells, other arms from the cell that is clicked alone. Of large cells in larger crops the loop takes "
        "less than the dilated pass. Tried: gates per position, iterations drawn at random, tanh and GELU."
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
    if not now.readings:
        return []
    # a bar is not judged before the arms that it is about are fitted
    found: list[Judged] = []
    for bar in BARS.get(case, ()):
        with contextlib.suppress(NotFitted):
            found.append(bar(results, now))
    return found
