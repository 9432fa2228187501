"""The arm `direct`: the single-pass network of the arm `implicit`, trained on labels only, without a teacher."""

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.matching import count_trainable, matched_rank
from dynaxx.evaluation.arms.resonant import ANCHORED, wrapped
from dynaxx.evaluation.arms.task import Notes, Run, Task

HIDDEN_PER_RANK = 2
"""Hidden channels of the student per unit of rank; its hidden layer is then as wide as its output."""


def train(task: Task, run: Run) -> None:
    """Train the arm like `explicit`, at the rank with about as many parameters that affect the output."""
    rank = sized_rank(task, run.seed)
    notes: Notes = {"rank": rank, "hidden": HIDDEN_PER_RANK * rank}
    train_on_labels(task, run, build(task, run.seed, rank), arm="direct", notes=notes)


def sized_rank(task: Task, seed: int) -> int:
    """The rank at which the arm has about as many parameters as `explicit`."""
    model = wrapped(task, seed, mode="explicit")
    one_pass = {**ANCHORED, "mode": "direct"}
    return matched_rank(model, count_trainable(model), one_pass, per_rank={"student_hidden": HIDDEN_PER_RANK})


def build(task: Task, seed: int, rank: int) -> ResonantModel:
    """The untrained model, in which only the parameters that its one pass uses are trainable."""
    return wrapped(task, seed, mode="direct", rank=rank, student_hidden=HIDDEN_PER_RANK * rank, **ANCHORED)
