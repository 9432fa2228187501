"""The tables of docs/: what a finding says, in cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynaxx.evaluation.statistics import Interval
from studies.answers import Scores
from studies.findings import EXPLICIT, Difference, Finding, minus

ONE_PASS = ("direct", "explicit_T1", "concat_mlp", "concat_probe")
LEVEL = 0.05
BASELINE = "baseline"


def verdicts(rows: list[dict[str, Any]]) -> str:
    """The table that decides."""
    keys = ("regime", "metric", EXPLICIT, "rival", "difference", "seeds", "p", "verdict")
    header = ["regime", "score", EXPLICIT, "best one-pass rival", "difference, points", "seeds", "p over seeds"]
    return markdown([*header, "verdict"], [[r[key] for key in keys] for r in rows])


def row(finding: Finding) -> dict[str, Any]:
    """One line of the table."""
    rivals = [d for d in finding.differences if d.rival in ONE_PASS]
    best = max(rivals, key=lambda d: finding.scores[d.rival])
    return {
        "regime": finding.regime,
        "metric": finding.metric,
        "explicit": f"{100 * finding.scores[EXPLICIT]:.1f}",
        "rival": f"{best.rival} {100 * finding.scores[best.rival]:.1f}",
        "difference": points(best.interval),
        "seeds": len(best.seeds),
        "p": "too few seeds" if best.p is None else f"{best.p:.3f}",
        "verdict": verdict(best, finding.scores[best.rival]),
        "against": {d.rival: f"{points(d.interval)} ({len(d.seeds)})" for d in finding.differences},
    }


def verdict(difference: Difference, rival_score: float) -> str:
    """Of the loop against one rival."""
    interval = difference.interval
    if interval.high < 0:
        return "lost"
    if interval.low <= 0:
        return "tie"
    if difference.p is None:
        return "ahead, on too few seeds"
    if difference.p >= LEVEL:
        return "ahead, but the seeds disagree"
    large = interval.estimate >= 0.01 or interval.estimate >= 0.02 * rival_score
    return "won" if large else "ahead by less than a point"


def messages(found: list[Finding]) -> str:
    """Explicit as it was chosen against explicit with messages about something else."""
    header = ["regime", EXPLICIT, "explicit with other messages", "difference, points", "seeds"]
    return markdown(
        header,
        [
            [f.regime, f"{100 * f.scores[EXPLICIT]:.1f}", f"{d.rival.removeprefix(EXPLICIT).strip()} "
             f"{100 * f.scores[d.rival]:.1f}", points(d.interval), len(d.seeds)]
            for f in found
            for d in f.differences
            if has_other_messages(d.rival) and d.rival.startswith(EXPLICIT)
        ],
    )  # fmt: skip


def has_other_messages(arm: str) -> bool:
    """Whether it is an arm with other messages than those that were chosen, as "explicit pooled"."""
    return " " in arm


def gains(by_arm: Scores) -> str:
    """Every arm minus the baseline."""
    header = ["arm", "score", "gain, points", "seeds", "p over seeds"]
    found = {arm: minus(seeds, BASELINE, by_arm[BASELINE]) for arm, seeds in by_arm.items() if arm != BASELINE}
    return markdown(
        header,
        [
            [
                arm,
                f"{100 * np.mean([by_arm[arm][seed].mean() for seed in gain.seeds]):.1f}",
                points(gain.interval),
                len(gain.seeds),
                "too few seeds" if gain.p is None else f"{gain.p:.3f}",
            ]
            for arm, gain in found.items()
        ],
    )


def points(interval: Interval) -> str:
    """In points of the score."""
    return f"{100 * interval.estimate:+.2f} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
