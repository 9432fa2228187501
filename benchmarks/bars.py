"""The bars, and the verdicts on measured figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.arms import BARE, IMPLICIT, REENTRANT_LATE, explicit
from benchmarks.networks import Case

Seconds = Mapping[str, NDArray[np.float64]]
"""Seconds of every arm, (rounds,). The times of one round were measured in turn and are compared with each other."""

MEMORY_LIMIT = 1.05
"""Bar on the memory of `explicit(5)`, weights and peak of one pass, relative to the bare backbone's."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles over rounds."""

    median: float
    p25: float
    p75: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Spread":
        return cls(*np.percentile(values, [50, 25, 75]).tolist())


@dataclass(frozen=True)
class Bar:
    """A figure with an upper bound.

    >>> bar = Bar("a / b", 1.1, ("a", "b"), lambda seconds: seconds["a"] / seconds["b"])

    Attributes:
        figure: name of the figure.
        most: upper bound of the figure.
        arms: arms that the figure needs; if it misses the bar, the first is profiled against the second.
        value: function from times to the figure of every round.
        goal: whether the bar is a goal instead of a requirement.
    """

    figure: str
    most: float
    arms: tuple[str, ...]
    value: Callable[[Seconds], NDArray[np.float64]]
    goal: bool = False


def ratio(arm: str, reference: str, most: float, goal: bool = False) -> Bar:
    """The bar on the time of `arm` over that of `reference`."""
    return Bar(f"{arm} / {reference}", most, (arm, reference), lambda s: s[arm] / s[reference], goal)


def iteration(most: float, few: int = 5, many: int = 20) -> Bar:
    """The bar on the time of one more iteration, relative to a pass of the bare backbone."""
    low, high = explicit(few), explicit(many)
    return Bar(
        f"one more iteration / {BARE}",
        most,
        (high, low, BARE),
        lambda s: (s[high] - s[low]) / (many - few) / s[BARE],
    )


def inference_bars(case: Case) -> list[Bar]:
    """The bars on one forward pass."""
    tight = (case.network, case.batch, case.device) == ("resnet50", 8, "cpu")
    return [
        ratio(explicit(5), BARE, 1.05 if tight else 1.10),
        iteration(0.005),
        ratio(IMPLICIT, explicit(1), 1.0),
        ratio(IMPLICIT, BARE, 1.02, goal=True),
        ratio(REENTRANT_LATE, BARE, 2.5),
    ]


@dataclass(frozen=True)
class Verdict:
    """One bar, judged by the median over rounds.

    >>> str(Verdict("a / b", Spread(1.2, 1.1, 1.3), 1.1))
    'bar 1.1 missed by 0.1, within the spread'

    Attributes:
        figure: name of the figure.
        value: measured value.
        most: upper bound of the figure.
        goal: whether the bar is a goal instead of a requirement.
    """

    figure: str
    value: Spread
    most: float
    goal: bool = False

    @property
    def met(self) -> bool:
        return self.value.median <= self.most

    @property
    def missed_by(self) -> float:
        """Distance of the median above the bar, or 0."""
        return max(0.0, self.value.median - self.most)

    def __str__(self) -> str:
        name = "goal" if self.goal else "bar"
        if self.met:
            return f"{name} {self.most:g} met"
        sure = "" if self.value.p25 > self.most else ", within the spread"
        return f"{name} {self.most:g} missed by {self.missed_by:.3g}{sure}"


def judge(bar: Bar, seconds: Seconds) -> Verdict:
    """The verdict on one bar, all of whose arms were timed."""
    return Verdict(bar.figure, Spread.of(bar.value(seconds)), bar.most, bar.goal)


def judge_memory(held_mb: float, bare_mb: float) -> Verdict:
    """The verdict on memory: weights and peak of a pass, relative to the bare backbone's."""
    value = held_mb / bare_mb
    return Verdict(f"memory of {explicit(5)} / {BARE}", Spread(value, value, value), MEMORY_LIMIT)
