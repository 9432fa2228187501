"""`python -m studies.page`: from studies/results to docs/when-it-pays.md and docs/experiments.md."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dynaxx.evaluation.files import write_text
from dynaxx.evaluation.statistics import Interval
from studies.findings import EXPLICIT, RESULTS, Difference, Finding, read

HERE, DOCS = Path(__file__).parent, Path(__file__).parents[1] / "docs"
ONE_PASS = ("direct", "explicit_T1", "concat_mlp", "concat_probe")
LEVEL = 0.05
ITERATIONS = "/T-"
"""In the names of regimes that are another one's arms with other numbers of iterations: not counted twice."""


def main() -> int:
    machines, found = everything()
    write_text(DOCS / "when-it-pays.md", pays(found, machines))
    write_text(DOCS / "experiments.md", experiments(json.loads((RESULTS / "tried.json").read_text())))
    return 0


def everything() -> tuple[list[Any], list[Finding]]:
    """On which machines studies/results came about, and all that it holds of regimes in which explicit was trained."""
    machines: list[Any] = []
    found: list[Finding] = []
    for name in ("classes", "dense", "dense_shift", "transformer"):
        if (RESULTS / f"{name}.json").exists():
            more, findings = read(RESULTS / f"{name}.json")
            machines.append(more.get("evaluated on", {}))
            found += [finding for finding in findings if EXPLICIT in finding.scores]
    return machines, found


def pays(found: list[Finding], machines: Sequence[Any]) -> str:
    """The text of docs/when-it-pays.md."""
    every = [row(finding) for finding in found]
    rows = [r for r in every if ITERATIONS not in r["regime"]]
    by_T = sorted((r for r in every if ITERATIONS in r["regime"]), key=_by_iterations)
    arms = [arm for arm in dict.fromkeys(d.rival for f in found for d in f.differences) if not _other_messages(arm)]
    won = [r["regime"] for r in rows if r["verdict"] == "won"]
    others = [r["regime"] for r in rows if r["verdict"] != "won"]
    headline = (
        f"**The loop beats the best single pass in {len(won)} of {len(rows)} regimes: {', '.join(won)}.** "
        f"It does not in: {', '.join(others)}."
        if won
        else "**In none of the regimes below does the loop beat the best single pass: take `direct`.**"
    )
    against = markdown(["regime", *arms], [[r["regime"], *(r["against"].get(arm, "") for arm in arms)] for r in rows])
    text = _template("when-it-pays.md.j2").render(
        headline=headline,
        table=verdicts(rows),
        by_T=verdicts(by_T),
        against=against,
        messages=messages(found),
        told=_said(machines),
        adaptive=_adaptive(),
    )
    return text.rstrip() + "\n"


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
            if _other_messages(d.rival) and d.rival.startswith(EXPLICIT)
        ],
    )  # fmt: skip


def _other_messages(arm: str) -> bool:
    """Whether it is an arm with other messages than those that were chosen, as "explicit pooled"."""
    return " " in arm


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


def points(interval: Interval) -> str:
    """In points of the score."""
    return f"{100 * interval.estimate:+.2f} [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def experiments(looked_at: list[dict[str, Any]]) -> str:
    """The text of docs/experiments.md."""
    tables = {}
    for world in dict.fromkeys(entry["world"] for entry in looked_at):
        entries = [entry for entry in looked_at if entry["world"] == world]
        arms = list(dict.fromkeys(entry["arm"] for entry in entries))
        by_regime: dict[str, dict[str, str]] = {}
        for entry in entries:
            by_regime.setdefault(entry["regime"], {})[entry["arm"]] = f"{100 * entry['score']:.1f} ({entry['seeds']})"
        rows = [[name, *(scores.get(arm, "") for arm in arms)] for name, scores in by_regime.items()]
        tables[world] = markdown(["what", *arms], rows)
    return _template("experiments.md.j2").render(tables=tables).rstrip() + "\n"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _template(name: str) -> Any:
    environment = Environment(undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True)
    return environment.from_string((HERE / name).read_text())


def _by_iterations(found: dict[str, Any]) -> tuple[str, float]:
    regime, T = found["regime"].split(ITERATIONS)
    return regime, float(T) if T.isdigit() else float("inf")


def _adaptive() -> str:
    """How many iterations images take to settle."""
    path = RESULTS / "iterations.json"
    if not path.exists():
        return ""
    taken = json.loads(path.read_text())["iterations"]
    return f": {taken['hard']:.1f} iterations on average for the hard ones, {taken['others']:.1f} for the others"


def _said(machines: Sequence[Any]) -> str:
    told = (f"{machine.get('cpu')}, {machine.get('cores')} cores, torch {machine.get('torch')}" for machine in machines)
    return f"Evaluated on: {'; '.join(dict.fromkeys(told))}."


if __name__ == "__main__":
    sys.exit(main())
