"""`python -m studies.page`: from studies/results to docs/when-it-pays.md and docs/experiments.md."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dynaxx.evaluation.files import write_text
from studies.answers import read_scores
from studies.findings import EXPLICIT, RESULTS, Finding, read
from studies.tables import gains, has_other_messages, markdown, messages, row, verdicts

HERE, DOCS = Path(__file__).parent, Path(__file__).parents[1] / "docs"
SAME = "same/main"
"""The regime whose backbone knows the task's classes already."""
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
    arms = [arm for arm in dict.fromkeys(d.rival for f in found for d in f.differences) if not has_other_messages(arm)]
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
        gains=gains(read_scores()[SAME]),
        told=_said(machines),
        adaptive=_adaptive(),
    )
    return text.rstrip() + "\n"


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
