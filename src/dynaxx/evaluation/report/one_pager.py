"""The decision of the evaluation as one printable HTML page and as a JSON file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.formatting import percent, points, significant, spread
from dynaxx.evaluation.results import Decision, Evaluation
from dynaxx.files import write_text
from dynaxx.templates import render

TEMPLATES = Path(__file__).parent / "templates"

HEADLINES = {
    "adopt_explicit": "Adopt resonance, and run its loop (explicit mode)",
    "adopt_implicit": "Adopt resonance in its one-pass form (implicit mode)",
    "adopt_cheaper": "Use {arm} rather than resonance: it is the cheaper way",
    "do_not_adopt": "Do not adopt resonance for this model and task",
}


def write_one_pager(evaluation: Evaluation, out: Path) -> None:
    """Write the decision to `out/decision.html`, a printable page without scripts, and to `out/decision.json`.

    >>> write_one_pager(Evaluation.from_json(Path("evaluation.json")), Path("report"))

    The JSON object has these keys:

    - `verdict`, `headline`, `reasons`, `arm`: the decision, and the name of the recommended arm (null if none).
    - `yearly_value`: yearly value of the avoided errors, with its interval; null if no prices are given.
    - `task`, `hardware`: the data set, and the machine that ran the evaluation.
    - `arms`: name → test accuracy (a fraction), latency (a multiple of the latency of the bare backbone), GFLOPs,
      parameters, and training seconds per seed.
    - `differences`: differences in test accuracy between arms (fractions), with their intervals.
    """
    decision = evaluation.decision
    data = {
        **asdict(decision),
        "headline": headline(decision),
        "task": asdict(evaluation.task),
        "hardware": evaluation.hardware,
        "arms": {
            arm.name: {
                "accuracy": float(np.mean(arm.accuracy_per_seed)),
                "latency_ratio": arm.latency.ratio,
                "gflops": arm.gflops,
                "trained_parameters": arm.trained_parameters,
                "train_seconds": arm.train_seconds,
            }
            for arm in evaluation.arms
        },
        "differences": [
            {"a": c.a, "b": c.b, **asdict(c.difference), "image_p": c.image_p, "sign_flip_p": c.sign_flip_p}
            for c in evaluation.comparisons
        ],
    }
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    page = render(
        "one_pager.html.j2",
        {
            "headline": headline(decision),
            "decision": decision,
            "highlights": highlights(evaluation),
            "rows": _rows(evaluation),
            "task": evaluation.task,
            "hardware": evaluation.hardware,
        },
        TEMPLATES,
    )
    write_text(out / "decision.json", text)
    write_text(out / "decision.html", page)


def headline(decision: Decision) -> str:
    """The recommendation of the decision in one line of text."""
    return HEADLINES[decision.verdict].format(arm=decision.arm)


def highlights(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """(name, number, detail) of key numbers of the recommended arm (`explicit` if none), compared with `baseline`."""
    arms = {arm.name: arm for arm in evaluation.arms}
    name = evaluation.decision.arm or "explicit"
    if name not in arms or BASELINE not in arms:
        return []
    arm, base = arms[name], arms[BASELINE]
    accuracy, before = float(np.mean(arm.accuracy_per_seed)), float(np.mean(base.accuracy_per_seed))
    return [
        (f"accuracy of {name}", percent(accuracy), f"{points(accuracy - before, 1)} points over {percent(before)}"),
        ("latency", f"× {arm.latency.ratio:.2f}", f"{significant(arm.latency.p50_ms)} ms at the median"),
        ("parameters trained", f"{arm.trained_parameters:,}", f"{arm.live_parameters:,} can change the output"),
        ("training", f"{significant(arm.train_seconds)} s", "a seed, on average"),
    ]


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Table rows of the one-pager, one per arm."""
    gains = {c.a: c.difference for c in evaluation.comparisons if c.b == BASELINE}
    return [
        {
            "name": arm.name,
            "accuracy": spread(arm.accuracy_per_seed),
            "gain": f"{points(gains[arm.name].estimate, 1)} "
            f"({points(gains[arm.name].low, 1)} to {points(gains[arm.name].high, 1)})"
            if arm.name in gains
            else "–",
            "latency": f"× {arm.latency.ratio:.2f}",
            "chosen": arm.name == evaluation.decision.arm,
        }
        for arm in evaluation.arms
    ]
