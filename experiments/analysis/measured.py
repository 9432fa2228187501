"""All committed measurements, which the claims are compared with."""

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dynaxx.evaluation.arms import BASELINE, EXPLICIT
from dynaxx.evaluation.statistics import Comparison, Interval
from dynaxx.tasks import Metric
from experiments.findings import RESULTS, Difference, Finding, read
from experiments.suite.results import read_case

SUITE = ("landcover", "landcover-rare-river", "sediment")
"""Cases of the suite that claims are about."""
BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "results"


@dataclass(frozen=True)
class Results:
    """All committed measurements.

    >>> read_results().findings["coarse/main"].scores["explicit"]
    0.71

    Attributes:
        findings: condition → finding of the experiments.
        settle: solver → share of converged images after each iteration.
        overcoupling: effect of amplified couplings on the influence of the first tap, per factor.
        regression: errors of the arms in degrees, and relative differences of explicit.
        sections: sections of the benchmarks, each as it was measured last.
        suite: case of the suite → relative gain of explicit over the probe, and its number of seeds.
    """

    findings: dict[str, Finding]
    settle: dict[str, Any]
    overcoupling: dict[str, Any]
    regression: dict[str, Any]
    sections: list[dict[str, Any]]
    suite: dict[str, tuple[Interval, int]] = field(default_factory=dict)


def read_results() -> Results:
    """Read experiments/results and benchmarks/results; missing results are empty."""
    paths = [RESULTS / f"{name}.json" for name in ("classes", "dense", "taps", "transformer")]
    findings = [finding for path in paths if path.exists() for finding in read(path)[1]]
    runs = [json.loads(path.read_text())["sections"] for path in sorted(BENCHMARKS.glob("*.json"))]
    sections = [*{section["title"]: section for run in runs for section in run}.values()]
    settle, overcoupling, regression = map(_content, ("settle", "overcoupling", "regression"))
    suite = {name: gain for name in SUITE if (gain := _gain(name)) is not None}
    return Results({f.condition: f for f in findings}, settle, overcoupling, regression, sections, suite)


@lru_cache
def _gain(case: str) -> tuple[Interval, int] | None:
    """Gain of explicit over the probe in a case of the suite, as a share of the probe's value; None if not fitted."""
    results = read_case(case)
    if results is None or not {EXPLICIT, BASELINE} <= results.fits.keys():
        return None
    metric = Metric(**results.about["metric"])
    seeds = [seed for seed in results.fits[EXPLICIT] if seed in results.fits[BASELINE]]
    mine, probe = (results.joined(arm, seeds) for arm in (EXPLICIT, BASELINE))
    gain = Comparison.measure(EXPLICIT, BASELINE, mine, probe, metric, tuple(results.about["groups"])).difference
    value = float(np.mean(probe.per_seed(metric)))
    return replace(gain, **{name: getattr(gain, name) / value for name in ("estimate", "low", "high")}), len(seeds)


def _content(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def against(results: Results, condition: str, rival: str) -> Difference:
    """The difference of explicit to `rival`; KeyError if they were not compared."""
    found = {d.rival: d for d in results.findings[condition].differences}
    return found[rival]


def ratios(results: Results, arm: str, of: str = "ratio") -> list[float]:
    """Median time of `arm` relative to the bare backbone's, in each section that has both; or memory.

    >>> ratios(read_results(), "explicit T=5")
    [1.05, 1.09]

    Args:
        of: "ratio" for times, "memory" for weights and peak of a pass.

    Raises:
        KeyError: no section has both.
    """
    found = []
    for section in results.sections:
        arms = {entry["arm"]: entry for entry in section["arms"]}
        if arm in arms and section["reference"] == "bare backbone":
            bare = arms["bare backbone"]
            found.append(arms[arm]["held_mb"] / bare["held_mb"] if of == "memory" else arms[arm]["ratio"]["median"])
    if not found:
        raise KeyError(arm)
    return found


def span(values: list[float]) -> str:
    """The smallest and the largest value in words."""
    return f"{min(values):.2f} to {max(values):.2f}"
