"""The arm `direct`: the implicit network trained on labels from the start, without ever seeing a loop."""

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.matching import explicit_parameters, matched_rank
from dynaxx.evaluation.arms.resonant import ANCHORED, resonant
from dynaxx.evaluation.arms.task import Notes, Run, Task

HIDDEN_PER_RANK = 2
"""Hidden channels for each channel of the rank: the student's inner layer is then as wide as its output."""


def train(task: Task, run: Run) -> None:
    """Train it as `explicit` is trained, at the rank that gives it as many live parameters."""
    target = explicit_parameters(task, run.seed)
    rank = matched_rank(lambda rank: build(task, run.seed, rank), target)
    notes: Notes = {"rank": rank, "hidden": HIDDEN_PER_RANK * rank}
    train_on_labels(task, run, build(task, run.seed, rank), arm="direct", notes=notes)


def build(task: Task, seed: int, rank: int) -> ResonantModel:
    """A model in implicit mode of which all that its one pass uses is trainable, and nothing else."""
    # all projections exist from T = 2 on, so the one pass reads every tap, the last one included
    model = resonant(
        task,
        seed,
        mode="implicit",
        T=max(2, task.resonance["T"]),
        rank=rank,
        student_hidden=HIDDEN_PER_RANK * rank,
        **ANCHORED,
    )
    engine = model.built()
    engine.phi.requires_grad_(False)
    for U, pair in zip(engine.couplings.U, engine.couplings.pairs, strict=True):
        U.requires_grad_(pair.target in engine.seen)
    return model
