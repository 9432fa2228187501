"""Arms that are `explicit` with one option changed: what settling costs, other dynamics, a student beside the loop.

`explicit` itself learns to settle where `resonance.stability` is `regularized`, its default.
"""

from functools import partial
from pathlib import Path
from typing import Any

from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.resonant import resonant
from dynaxx.evaluation.arms.task import LoggerFactory, Task

CHANGES: dict[str, dict[str, Any]] = {
    "explicit_monitored": {"stability": "monitored"},
    "explicit_certified": {"stability": "certified"},
    "hybrid": {"mode": "hybrid"},
    "reentrant": {"dynamics": "reentrant"},
}
"""Options of `wrap_with_resonance` by arm."""


def train(arm: str, task: Task, seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
    """Train `explicit` with the arm's changes, and nothing else changed."""
    changes = CHANGES[arm]
    model = resonant(task, seed, **({"mode": "explicit"} | changes))
    notes: dict[str, float | int | str] = {"rank": model.config.rank, "T": model.T, **changes}
    train_on_labels(task, seed, model, out, checkpoints, logger, arm=arm, notes=notes)


VARIANTS = {arm: partial(train, arm) for arm in CHANGES}
