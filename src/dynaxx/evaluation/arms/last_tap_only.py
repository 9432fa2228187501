"""The control `last_tap_only`: the same loop as `explicit`, with messages from the last tapped layer only.

An accuracy gain of `explicit` over this control comes from the earlier layers, not from a deeper head.
"""

from dataclasses import replace

from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.matching import explicit_parameters, matched_rank
from dynaxx.evaluation.arms.repeated_tap import REPEATED_TAP, repeat_tap
from dynaxx.evaluation.arms.resonant import ANCHORED, wrapped
from dynaxx.evaluation.arms.task import Notes, Run, Task


def train(task: Task, run: Run) -> None:
    """Train the control like `explicit`, at the rank with about as many parameters as `explicit`."""
    target, last, times = explicit_parameters(task, run.seed), task.taps[-1], len(task.taps)
    _, paths = repeat_tap(task.backbone(), last, times)
    repeated = replace(
        task,
        backbone=lambda: repeat_tap(task.backbone(), last, times)[0],
        taps=paths,
        # the layers of a block may have the same paths as the repeated taps
        variant=f"{times} times {last}",
    )
    # nothing of the backbone lies between these taps that could be run again
    rank = matched_rank(wrapped(repeated, run.seed, mode="explicit", **ANCHORED), target)
    model = wrapped(repeated, run.seed, mode="explicit", rank=rank, **ANCHORED)
    notes: Notes = {"rank": rank, "T": model.T, REPEATED_TAP: last}
    train_on_labels(repeated, run, model, arm="last_tap_only", notes=notes)
