"""All committed measurements, which the claims are compared with."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.findings import RESULTS, Difference, Finding, read

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
    """

    findings: dict[str, Finding]
    settle: dict[str, Any]
    overcoupling: dict[str, Any]
    regression: dict[str, Any]
    sections: list[dict[str, Any]]


def read_results() -> Results:
    """Read experiments/results and benchmarks/results; missing results are empty."""
    paths = [RESULTS / f"{name}.json" for name in ("classes", "dense", "taps", "transformer")]
    findings = [finding for path in paths if path.exists() for finding in read(path)[1]]
    runs = [json.loads(path.read_text())["sections"] for path in sorted(BENCHMARKS.glob("*.json"))]
    sections = [*{section["title"]: section for run in runs for section in run}.values()]
    settle, overcoupling, regression = map(_content, ("settle", "overcoupling", "regression"))
    return Results({f.condition: f for f in findings}, settle, overcoupling, regression, sections)


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
