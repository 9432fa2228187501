"""The arms `explicit_monitored` and `explicit_certified`: what making the loop settle costs in accuracy.

`explicit` itself learns to settle where `resonance.stability` is `regularized`, its default.
"""

from functools import partial
from pathlib import Path

from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.resonant import resonant
from dynaxx.evaluation.arms.task import LoggerFactory, Task


def train(kind: str, task: Task, seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
    """Train `explicit` with another `stability`, and nothing else changed."""
    model = resonant(task, seed, mode="explicit", stability=kind)
    notes: dict[str, float | int | str] = {"rank": model.config.rank, "T": model.T, "stability": kind}
    train_on_labels(task, seed, model, out, checkpoints, logger, arm=f"explicit_{kind}", notes=notes)


train_monitored, train_certified = partial(train, "monitored"), partial(train, "certified")
