"""The decision of the evaluation as one printable HTML page and as a JSON file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.formatting import amount, gained, label, of_metric, scattered, significant, titled, unit_of_gain
from dynaxx.evaluation.results import Comparison, Evaluation
from dynaxx.files import write_text
from dynaxx.templates import render

TEMPLATES = Path(__file__).parent / "templates"


def write_one_pager(evaluation: Evaluation, out: Path) -> None:
    """Write the decision to `out/decision.html`, a printable page without scripts, and to `out/decision.json`.

    >>> write_one_pager(Evaluation.from_json(Path("evaluation.json")), Path("report"))

    The JSON object has these keys:

    - `verdict`, `arm`, `headline`: the decision, and the arm to deploy, which is the probe if nothing else pays.
    - `answers`: the questions, with their answers and reasons. `beside`: what rivals would give.
    - `yearly_value`: yearly value of the avoided errors, with its interval; null if no prices are given.
    - `task`, `hardware`, `timings`: the data set and its metric, the machine, and how the arms were timed on it.
    - `arms`: name → metric on the test samples, cost of errors, latency (a multiple of the probe's), GFLOPs,
      parameters, and training seconds per seed.
    - `gains`, `cost_gains`: gains of one arm over another, with their intervals; the second is empty without prices.
    """
    decision = evaluation.decision
    data = {
        **asdict(decision),
        "headline": headline(evaluation),
        "task": asdict(evaluation.task),
        "hardware": evaluation.hardware,
        "timings": {name: asdict(timing) for name, timing in evaluation.timings.items()},
        "arms": {
            arm.name: {
                evaluation.task.metric.name: arm.mean,
                "cost_per_1000": None if arm.costs is None else asdict(arm.costs.per_1000),
                "latency_ratio": arm.latency.ratio,
                "gflops": arm.gflops,
                "trained_parameters": arm.trained_parameters,
                "train_seconds": arm.train_seconds,
            }
            for arm in evaluation.arms
        },
        "gains": [_gain(comparison) for comparison in evaluation.comparisons],
        "cost_gains": [_gain(comparison) for comparison in evaluation.cost_comparisons],
    }
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    metric = evaluation.task.metric
    page = render(
        "one_pager.html.j2",
        {
            "headline": headline(evaluation),
            "decision": decision,
            "highlights": highlights(evaluation),
            "rows": _rows(evaluation),
            "metric": titled(metric),
            "gain": f"gain over {BASELINE}, {unit_of_gain(evaluation.deciding[1])}".removesuffix(", "),
            "task": evaluation.task,
            "batch": evaluation.timings["latency"].batch,
            "probe": BASELINE,
            "hardware": evaluation.hardware,
        },
        TEMPLATES,
    )
    write_text(out / "decision.json", text)
    write_text(out / "decision.html", page)


def headline(evaluation: Evaluation) -> str:
    """The recommendation of the decision in one line of text."""
    decision, (comparisons, metric) = evaluation.decision, evaluation.deciding
    if decision.verdict == "keep_probe":
        return f"Keep the probe on the last layer ({decision.arm})"
    gain = next((c.difference.estimate for c in comparisons if (c.a, c.b) == (decision.arm, BASELINE)), None)
    if gain is None:
        return f"Use {decision.arm}"
    if metric.higher_is_better:
        return f"Use {decision.arm}: {gained(gain, metric)} over the last layer alone"
    return f"Use {decision.arm}: {amount(gain, metric)} less {label(metric.name)} than the last layer alone"


def highlights(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(name, number, detail) of key numbers of the best reading, or of the one to deploy, beside those of the probe."""
    arms = {arm.name: arm for arm in evaluation.arms}
    decision, metric = evaluation.decision, evaluation.task.metric
    name = decision.arm if decision.verdict == "adopt" else decision.best
    if name not in arms or BASELINE not in arms:
        return []
    arm, base = arms[name], arms[BASELINE]
    gain = gained(metric.gain(arm.mean, base.mean), metric, unit=False)
    return [
        (
            f"{label(metric.name)} of {name}",
            of_metric(arm.mean, metric),
            f"{gain} {unit_of_gain(metric)}".rstrip() + f" over {of_metric(base.mean, metric)}",
        ),
        ("latency", f"× {arm.latency.ratio:.2f}", f"{significant(arm.latency.p50_ms)} ms at the median"),
        ("parameters trained", f"{arm.trained_parameters:,}", f"{arm.live_parameters:,} can change the output"),
        ("training", f"{significant(arm.train_seconds)} s", "a seed, on average"),
    ]


def _gain(comparison: Comparison) -> dict[str, Any]:
    return {
        "a": comparison.a,
        "b": comparison.b,
        **asdict(comparison.difference),
        "relative": comparison.relative,
        "image_p": comparison.image_p,
        "sign_flip_p": comparison.sign_flip_p,
    }


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Table rows of the one-pager, one per arm."""
    comparisons, metric = evaluation.deciding
    gains = {c.a: c.difference for c in comparisons if c.b == BASELINE}

    def told(name: str) -> str:
        if name not in gains:
            return "–"
        gain, low, high = (
            gained(value, metric, unit=False) for value in (gains[name].estimate, gains[name].low, gains[name].high)
        )
        return f"{gain} ({low} to {high})"

    return [
        {
            "name": arm.name,
            "value": scattered(arm.value_per_seed, evaluation.task.metric),
            "gain": told(arm.name),
            "latency": f"× {arm.latency.ratio:.2f}",
            "training": f"{significant(arm.train_seconds)} s",
            "chosen": arm.name == evaluation.decision.arm,
        }
        for arm in evaluation.arms
    ]
