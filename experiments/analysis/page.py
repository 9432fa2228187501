"""`python -m experiments.analysis.page`: write when-it-pays.md and experiments.md of docs/results."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dynaxx.files import write_text
from experiments.analysis.class_gains import class_gain_table
from experiments.analysis.learning_rates import best_rates
from experiments.analysis.outcomes import ITERATIONS, Outcome, tasks, variants
from experiments.analysis.tables import against, gains, messages, verdicts
from experiments.findings import EXPLICIT, RESULTS, Finding, read
from experiments.markdown import markdown
from experiments.predictions import read_scores
from experiments.tasks.cifar10 import COARSE

HERE, DOCS = Path(__file__).parent, Path(__file__).parents[2] / "docs" / "results"
LONG_TAILS = ("coarse/tail-50", "coarse-2/tail-50", "coarse-2/tail-50-same-rates")
SAME = "same/main"
"""Condition whose backbone was trained on the classes of the task."""


def main() -> int:
    """Write both pages of docs/results; returns the exit status."""
    machines, found = everything()
    write_text(DOCS / "when-it-pays.md", pays(found, machines))
    write_text(DOCS / "experiments.md", experiments(json.loads((RESULTS / "tried.json").read_text())))
    return 0


def everything() -> tuple[list[Any], list[Finding]]:
    """The machines of experiments/results, and the findings of all conditions with explicit."""
    machines: list[Any] = []
    found: list[Finding] = []
    for name in ("classes", "dense", "dense_shift", "transformer"):
        if (RESULTS / f"{name}.json").exists():
            more, findings = read(RESULTS / f"{name}.json")
            machines.append(more.get("evaluated on", {}))
            found += [finding for finding in findings if EXPLICIT in finding.scores]
    return machines, found


def pays(found: list[Finding], machines: Sequence[Any]) -> str:
    """The text of docs/results/when-it-pays.md."""
    trained, others = tasks(found), variants(found)
    shifted = [outcome for outcome in others if ITERATIONS not in outcome.finding.condition]
    by_T = sorted((outcome for outcome in others if outcome not in shifted), key=_by_iterations)
    one_task = [finding for finding in found if ITERATIONS not in finding.condition]
    text = _template("when-it-pays.md.j2").render(
        headline=_headline(trained),
        table=verdicts(trained, "p, Holm", missing=True),
        shifted=verdicts(shifted, "p, this row alone"),
        by_T=verdicts(by_T, "p, this row alone"),
        against=against(one_task),
        messages=messages(found),
        gains=gains(read_scores()[SAME]),
        class_gains={condition: class_gain_table(condition) for condition in LONG_TAILS},
        machines=_machines(machines),
        adaptive=_adaptive(),
    )
    return text.rstrip() + "\n"


def _headline(trained: Sequence[Outcome]) -> str:
    won = [outcome for outcome in trained if outcome.verdict == "won"]
    if not won:
        return "**In none of the tasks below does the loop beat the best single pass: take `direct`.**"
    names = [o.finding.condition + f" (not run: {', '.join(o.missing)})" * bool(o.missing) for o in won]
    others = [outcome.finding.condition for outcome in trained if outcome not in won]
    return (
        f"**The loop beats the best single pass that was run in {len(won)} of {len(trained)} tasks: "
        f"{', '.join(names)}.** It does not in: {', '.join(others)}."
    )


def experiments(trials: list[dict[str, Any]]) -> str:
    """The text of docs/results/experiments.md."""
    tables = {}
    for setting in dict.fromkeys(entry["setting"] for entry in trials):
        entries = [entry for entry in trials if entry["setting"] == setting]
        arms = list(dict.fromkeys(entry["arm"] for entry in entries))
        by_condition: dict[str, dict[str, str]] = {}
        for entry in entries:
            by_condition.setdefault(entry["condition"], {})[entry["arm"]] = (
                f"{100 * entry['score']:.1f} ({entry['seeds']})"
            )
        rows = [[name, *(scores.get(arm, "") for arm in arms)] for name, scores in by_condition.items()]
        tables[setting] = markdown(["what", *arms], rows)
    rates = {prefix: best_rates(trials, COARSE, prefix) for prefix in ("lr-", "tail-lr-")}
    return _template("experiments.md.j2").render(tables=tables, rates=rates).rstrip() + "\n"


def _template(name: str) -> Any:
    environment = Environment(undefined=StrictUndefined, trim_blocks=False, keep_trailing_newline=True)
    return environment.from_string((HERE / name).read_text())


def _by_iterations(outcome: Outcome) -> tuple[str, float]:
    condition, T = outcome.finding.condition.split(ITERATIONS)
    return condition, float(T) if T.isdigit() else float("inf")


def _adaptive() -> str:
    """The mean number of iterations until an image converges, in words."""
    path = RESULTS / "iterations.json"
    if not path.exists():
        return ""
    taken = json.loads(path.read_text())["iterations"]
    return f": {taken['hard']:.1f} iterations on average for the hard ones, {taken['others']:.1f} for the others"


def _machines(machines: Sequence[Any]) -> str:
    names = (
        f"{machine.get('cpu')}, {machine.get('cores')} cores, torch {machine.get('torch')}" for machine in machines
    )
    return f"Statistics computed on: {'; '.join(dict.fromkeys(names))}."


if __name__ == "__main__":
    sys.exit(main())
