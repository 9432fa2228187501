"""The tables of docs/results, from findings."""

from collections.abc import Sequence

import numpy as np

from dynaxx.evaluation.statistics import Interval
from experiments.analysis.outcomes import Outcome
from experiments.findings import EXPLICIT, Finding, minus
from experiments.markdown import markdown
from experiments.predictions import Scores

BASELINE = "baseline"


def verdicts(found: Sequence[Outcome], p: str, *, missing: bool = False) -> str:
    """The table of outcomes.

    >>> print(verdicts(tasks(findings), "p, Holm"))

    Args:
        p: header of the column of p-values.
        missing: whether a column lists the single passes that were not run.
    """
    header = ["condition", "score", EXPLICIT, "best one-pass rival", "difference, points", "seeds", p, "verdict"]
    return markdown(
        [*header, *["not run"] * missing],
        [
            [
                o.finding.condition,
                o.finding.metric,
                f"{100 * o.finding.scores[EXPLICIT]:.1f}",
                f"{o.best.rival} {100 * o.finding.scores[o.best.rival]:.1f}",
                points(o.best.interval),
                len(o.best.seeds),
                "too few seeds" if o.p is None else f"{o.p:.3f}",
                o.verdict,
                *[", ".join(o.missing)] * missing,
            ]
            for o in found
        ],
    )


def against(found: Sequence[Finding]) -> str:
    """The table of explicit minus each arm."""
    arms = [arm for arm in dict.fromkeys(d.rival for f in found for d in f.differences) if not has_other_messages(arm)]
    rows = [{d.rival: f"{points(d.interval)} ({len(d.seeds)})" for d in f.differences} for f in found]
    cells = [[f.condition, *(row.get(arm, "") for arm in arms)] for f, row in zip(found, rows, strict=True)]
    return markdown(["condition", *arms], cells)


def messages(found: list[Finding]) -> str:
    """The table of explicit with the chosen kind of messages against explicit with the other kind."""
    header = ["condition", EXPLICIT, "explicit with other messages", "difference, points", "seeds"]
    return markdown(
        header,
        [
            [f.condition, f"{100 * f.scores[EXPLICIT]:.1f}", f"{d.rival.removeprefix(EXPLICIT).strip()} "
             f"{100 * f.scores[d.rival]:.1f}", points(d.interval), len(d.seeds)]
            for f in found
            for d in f.differences
            if has_other_messages(d.rival) and d.rival.startswith(EXPLICIT)
        ],
    )  # fmt: skip


def has_other_messages(arm: str) -> bool:
    """Whether the arm has other messages than the chosen ones, such as "explicit pooled"."""
    return " " in arm


def gains(by_arm: Scores) -> str:
    """The table of each arm minus the baseline."""
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
    """An interval in points of the score."""
    return f"{100 * interval.estimate:+.2f} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
