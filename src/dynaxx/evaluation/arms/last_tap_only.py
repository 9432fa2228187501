"""The control `last_tap_only`: the same loop, but all its messages come from the last tap.

What explicit gains over it is owed to what the earlier layers know, and not to a deeper head.
"""

from dataclasses import replace
from pathlib import Path

from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.matching import explicit_parameters, matched_rank
from dynaxx.evaluation.arms.repeated_tap import ECHOES, echoed
from dynaxx.evaluation.arms.resonant import ONE_PASS, resonant
from dynaxx.evaluation.arms.task import LoggerFactory, Task


def train(task: Task, seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
    """Train it as `explicit` is trained, at the rank that gives it as many parameters."""
    target, last, times = explicit_parameters(task, seed), task.taps[-1], len(task.taps)
    _, paths = echoed(task.backbone(), last, times)
    echo = replace(
        task,
        backbone=lambda: echoed(task.backbone(), last, times)[0],
        taps=paths,
        fingerprint=f"{task.fingerprint}, {times} times {last}",  # a block's own layers may have the echoes' paths
    )
    # nothing of the backbone lies between these taps that could be run again
    rank = matched_rank(lambda rank: resonant(echo, seed, mode="explicit", rank=rank, **ONE_PASS), target)
    model = resonant(echo, seed, mode="explicit", rank=rank, **ONE_PASS)
    notes: dict[str, float | int | str] = {"rank": rank, "T": model.T, ECHOES: last}
    train_on_labels(echo, seed, model, out, checkpoints, logger, arm="last_tap_only", notes=notes)
