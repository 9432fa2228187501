"""The arm `direct`: the implicit network trained on labels from the start, without ever seeing a loop."""

from pathlib import Path

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.matching import explicit_parameters, matched_rank
from dynaxx.evaluation.arms.resonant import ONE_PASS, resonant
from dynaxx.evaluation.arms.task import LoggerFactory, Task

HIDDEN = 2
"""Hidden channels for each channel of the rank: the student's inner layer is then as wide as its output."""


def train(task: Task, seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
    """Train it as `explicit` is trained, at the rank that gives it as many live parameters."""
    target = explicit_parameters(task, seed)
    rank = matched_rank(lambda rank: build(task, seed, rank), target)
    notes: dict[str, float | int | str] = {"rank": rank, "hidden": HIDDEN * rank}
    train_on_labels(task, seed, build(task, seed, rank), out, checkpoints, logger, arm="direct", notes=notes)


def build(task: Task, seed: int, rank: int) -> ResonantModel:
    """A model in implicit mode of which all that its one pass uses is trainable, and nothing else."""
    # all projections exist from T = 2 on, so the one pass reads every tap, the last one included
    model = resonant(
        task,
        seed,
        mode="implicit",
        T=max(2, task.resonance["T"]),
        rank=rank,
        student_hidden=HIDDEN * rank,
        **ONE_PASS,
    )
    exchange = model.require_built().exchange
    exchange.phi.requires_grad_(False)
    for tap, U in enumerate(exchange.couplings.U):
        U.requires_grad_(tap in exchange.outputs)
    return model
