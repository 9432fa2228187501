"""What was measured here and what it says of each claim: from committed results to figure and verdict."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaxx.evaluation.statistics import Interval
from studies.findings import EXPLICIT, RESULTS, Difference, Finding, read
from studies.tables import points
from studies.taps import REFERENCE
from studies.transformer import CHOSEN

BENCHMARKS = Path(__file__).parents[1] / "benchmarks" / "results"
HELD, NOT, ONLY, UNTESTED = "held", "did not hold", "holds only", "untested"
SETTLED = 0.99
MOST = 2 / 3
"""Share of a gain from which on it is most of it."""
LITTLE = 0.005
"""Of accuracy."""
LESS = 0.08
"""Share by which an error is to be lower."""


@dataclass(frozen=True)
class Results:
    """All that was measured and committed.

    Attributes:
        findings: of the studies, by regime.
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
    """From studies/results and benchmarks/results."""
    findings = [f for name in ("classes", "dense", "taps", "transformer") for f in read(RESULTS / f"{name}.json")[1]]
    sections = json.loads(max(BENCHMARKS.glob("*.json")).read_text())["sections"]
    names = ("settle", "overcoupling", "regression")
    settle, overcoupling, regression = (json.loads((RESULTS / f"{name}.json").read_text()) for name in names)
    return Results({f.regime: f for f in findings}, settle, overcoupling, regression, sections)


def against(results: Results, regime: str, rival: str) -> Difference:
    """Explicit minus `rival`."""
    return next(d for d in results.findings[regime].differences if d.rival == rival)


def ratios(results: Results, arm: str, of: str = "ratio") -> list[float]:
    """Median time of `arm` over the bare backbone's in each section that has both, or of what they hold in memory."""
    found = []
    for section in results.sections:
        arms = {entry["arm"]: entry for entry in section["arms"]}
        if arm in arms and section["reference"] == "bare backbone":
            bare = arms["bare backbone"]
            found.append(arms[arm]["held_mb"] / bare["held_mb"] if of == "memory" else arms[arm]["ratio"]["median"])
    return found


def span(values: list[float]) -> str:
    """From the smallest to the largest."""
    return f"{min(values):.2f} to {max(values):.2f}"


def settles(results: Results) -> tuple[str, str]:
    shares = results.settle["settled after"]["picard"]
    first = next((n for n, share in enumerate(shares, start=1) if share >= SETTLED), None)
    images = f"{results.settle['images']:,} images, {results.settle['seeds']} seeds"
    told = f"{100 * shares[4]:.1f} % within 1e-2 after 5 ({images})"
    return told, HELD if first is not None and first <= 7 else NOT


def slower(results: Results) -> tuple[str, str]:
    ours, rerun = ratios(results, "explicit T=5"), ratios(results, "reentrant T=5")
    told = f"anchored {span(ours)} of the backbone's time, reentrant {span(rerun)}"
    return told, f"{ONLY} for reentrant dynamics" if max(ours) < 2 <= min(rerun) else HELD


def memory(results: Results) -> tuple[str, str]:
    ours = ratios(results, "explicit T=5", "memory")
    return f"{span(ours)} of the backbone's, weights and peak of a pass", NOT if max(ours) < 2 else HELD


def implicit_cost(results: Results) -> tuple[str, str]:
    ours = ratios(results, "implicit")
    within = sum(ratio < 1.05 for ratio in ours)
    told = f"{span(ours)} of the backbone's time; under 1.05 in {within} of {len(ours)}"
    return told, HELD if within == len(ours) else f"{ONLY} in {within} of {len(ours)} cases"


def implicit_accuracy(results: Results) -> tuple[str, str]:
    gap = against(results, "coarse/main", "implicit").interval
    return f"explicit − implicit {points(gap)} points", HELD if gap.high <= 0.02 else NOT


def relative(results: Results) -> tuple[str, str]:
    found = results.findings["coarse/main"]
    base = found.scores["baseline"]
    gap = against(results, "coarse/main", "baseline").interval
    told = (
        f"{100 * gap.estimate / base:+.0f} % [{100 * gap.low / base:.0f}, {100 * gap.high / base:.0f}] over the probe"
    )
    direct = against(results, "coarse/main", "direct").interval
    return f"{told}; over `direct` {points(direct)} points", HELD if gap.low / base >= 0.05 else NOT


def loop(results: Results) -> tuple[str, str]:
    regimes = {"dense": "membrane/labels-8", "long tail": "coarse/tail-50", "classes": "coarse/main"}
    gaps = {name: against(results, regime, "direct").interval for name, regime in regimes.items()}
    told = ", ".join(f"{name} {points(gap)}" for name, gap in gaps.items()) + " points over `direct`"
    by_a_point = [name for name, gap in gaps.items() if gap.low > 0 and gap.estimate >= 0.01]
    if len(by_a_point) == len(gaps):
        return told, HELD
    return told, f"{ONLY} by a point for: {', '.join(by_a_point)}" if by_a_point else NOT


def one_pass(results: Results) -> tuple[str, str]:
    gap = against(results, "coarse/main", "explicit_T1").interval
    return f"{points(gap)} points over one pass of the same couplings", HELD if gap.low > 0 else NOT


def finetuning(results: Results) -> tuple[str, str]:
    gap = against(results, "coarse/main", "full_finetune").interval
    return f"explicit − full fine-tuning {points(gap)} points", HELD if gap.low > -0.005 else NOT


def lora(results: Results) -> tuple[str, str]:
    gap = against(results, "coarse/main", "lora").interval
    return f"explicit − LoRA of as many parameters {points(gap)} points", HELD if gap.low > 0 else NOT


def taps(results: Results) -> tuple[str, str]:
    found = results.findings["digits/taps"]
    gain = {int(arm[5:]): score - found.scores["baseline"] for arm, score in found.scores.items() if "taps-" in arm}
    gain[REFERENCE] = found.scores[EXPLICIT] - found.scores["baseline"]
    told = ", ".join(f"{100 * gain[n]:+.2f} with {n}" for n in sorted(gain))
    best = max(gain.values())
    three, four = gain[REFERENCE] >= MOST * best, best - gain[REFERENCE + 1] <= LITTLE
    verdict = HELD if three and four else f"{ONLY} for four" if four else f"{ONLY} for three" if three else NOT
    return f"digits: {told} points over the probe ({len(found.differences[0].seeds)} seeds)", verdict


def transformers(results: Results) -> tuple[str, str]:
    parts, least = [], []
    for head in CHOSEN:
        base = results.findings[f"digits/{head}"].scores["baseline"]
        gain = against(results, f"digits/{head}", "baseline").interval
        direct = against(results, f"digits/{head}", "direct").interval
        told = f"{100 * gain.estimate / base:+.0f} % [{100 * gain.low / base:.0f}, {100 * gain.high / base:.0f}]"
        parts.append(f"{head} {told} over the probe, {points(direct)} points over `direct`")
        least.append(gain.low / base)
    return f"digits: {'; '.join(parts)}", HELD if min(least) >= 0.02 else NOT


def regression(results: Results) -> tuple[str, str]:
    found = results.regression
    gaps = {arm: Interval(**entry["relative"]) for arm, entry in found["against"].items()}
    told = f"by which angle digits are turned: {found['degrees'][EXPLICIT]:.2f} degrees, in % against " + ", ".join(
        f"{arm} {points(gap)}" for arm, gap in gaps.items()
    )
    return f"{told} ({found['seeds']} seeds)", HELD if gaps["baseline"].high <= -LESS else NOT


def overcoupling(results: Results) -> tuple[str, str]:
    parts, less = [], []
    for entry in results.overcoupling["factors"]:
        if entry["factor"] > 1:
            gap = Interval(**entry["against trained"])
            less += [entry["factor"]] * (gap.high < 0)
            parts.append(f"{entry['factor']:g} times as strong {points(gap)} ({100 * entry['accuracy']:.1f} % right)")
    told = f"share of images that heed the first tap, in points: {', '.join(parts)}"
    if not less:
        return told, NOT
    return told, HELD if len(less) == len(parts) else f"{ONLY} from {min(less):g} times as strong on"


def untested(results: Results) -> tuple[str, str]:
    del results
    return "", UNTESTED
