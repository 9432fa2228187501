"""All that was measured and committed, for the claims to be held against."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.analysis.findings import RESULTS, Difference, Finding, read

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "results"


@dataclass(frozen=True)
class Results:
    """All that was measured and committed.

    Attributes:
        findings: of the studies, by condition.
        settle: share of images settled after each iteration, by solver.
        overcoupling: what amplified couplings do to what the first tap says, by factor.
        regression: errors of the arms, and by which share explicit's are smaller.
        sections: of the last benchmark.
    """

    findings: dict[str, Finding]
    settle: dict[str, Any]
    overcoupling: dict[str, Any]
    regression: dict[str, Any]
    sections: list[dict[str, Any]]


def read_results() -> Results:
    """From experiments/results and benchmarks/results; what is not there is empty."""
    paths = [RESULTS / f"{name}.json" for name in ("classes", "dense", "taps", "transformer")]
    findings = [finding for path in paths if path.exists() for finding in read(path)[1]]
    benchmarks = sorted(BENCHMARKS.glob("*.json"))
    sections = json.loads(benchmarks[-1].read_text())["sections"] if benchmarks else []
    settle, overcoupling, regression = map(_content, ("settle", "overcoupling", "regression"))
    return Results({f.condition: f for f in findings}, settle, overcoupling, regression, sections)


def _content(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def against(results: Results, condition: str, rival: str) -> Difference:
    """Explicit minus `rival`.

    Raises:
        KeyError: they were not compared.
    """
    found = {d.rival: d for d in results.findings[condition].differences}
    return found[rival]


def ratios(results: Results, arm: str, of: str = "ratio") -> list[float]:
    """Median time of `arm` over the bare backbone's in each section that has both, or of what they hold in memory.

    Raises:
        KeyError: there is none.
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
    """From the smallest to the largest."""
    return f"{min(values):.2f} to {max(values):.2f}"
