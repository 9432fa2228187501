"""Where the arms of one case stand: each with its score and its gain over the last layer alone.

Shape legend: S seeds, N test samples.
"""

from dataclasses import dataclass

import numpy as np

from dynaxx.evaluation.arms import ARMS, BASELINE
from dynaxx.evaluation.statistics import Comparison
from dynaxx.tasks import Metric
from experiments.suite.results import CaseResults

RESAMPLES = 10_000


@dataclass(frozen=True)
class ArmStanding:
    """One arm of a case.

    Attributes:
        arm: its name.
        seeds: seeds with which it was fitted.
        value, deviation: the metric on test, mean and standard deviation over seeds.
        validation: the metric on validation, mean over seeds.
        live: number of trained parameters that the output depends on.
        seconds: time of training, mean over seeds.
        measures: other metrics on test, means over seeds.
        over_probe: the gain over the last layer alone, on the seeds of both; None of that arm itself.
    """

    arm: str
    seeds: list[int]
    value: float
    deviation: float
    validation: float
    live: int
    seconds: float
    measures: dict[str, float]
    over_probe: Comparison


@dataclass(frozen=True)
class Standing:
    """All arms of a case, in the order of `ARMS`, others behind."""

    metric: Metric
    arms: dict[str, ArmStanding]

    @property
    def probe(self) -> ArmStanding:
        """The last layer alone."""
        return self.arms[BASELINE]

    @property
    def readings(self) -> list[ArmStanding]:
        """The readings besides the last layer alone."""
        return [
            one for name, one in self.arms.items() if name != BASELINE and name in ARMS and ARMS[name].role == "reading"
        ]

    @property
    def best(self) -> ArmStanding:
        """The reading that is best on validation."""
        return max(self.readings, key=lambda arm: self.metric.oriented(arm.validation))


def standing(results: CaseResults) -> Standing:
    """The arms of a case with intervals; arms that share no seed with the last layer alone are left out.

    >>> standing(read_case("digits-600")).best.arm  # doctest: +SKIP
    'direct'
    """
    metric, groups = Metric(**results.about["metric"]), tuple(results.about["groups"])
    known = [name for name in ARMS if name in results.fits] + [name for name in results.fits if name not in ARMS]
    arms: dict[str, ArmStanding] = {}
    for name in known:
        fits = results.fits[name]
        shared = [seed for seed in fits if seed in results.fits.get(BASELINE, {})]
        if not shared:
            continue
        values = [fits[seed].test for seed in fits]
        arms[name] = ArmStanding(
            arm=name,
            seeds=list(fits),
            value=float(np.mean(values)),
            deviation=float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            validation=float(np.mean([fit.validation for fit in fits.values()])),
            live=max(fit.live for fit in fits.values()),
            seconds=float(np.mean([fit.seconds for fit in fits.values()])),
            measures={
                key: float(np.mean([fit.measures[key] for fit in fits.values()]))
                for key in next(iter(fits.values())).measures
            },
            over_probe=Comparison.measure(
                name,
                BASELINE,
                results.joined(name, shared),
                results.joined(BASELINE, shared),
                metric,
                groups,
                resamples=RESAMPLES,
            ),
        )
    return Standing(metric, arms)
