"""The arm `explicit_T1`: one pass of the same couplings, their rank raised until they are as many as explicit's."""

from pathlib import Path

from dynaxx.evaluation.arms.explicit import train_on_labels
from dynaxx.evaluation.arms.matching import explicit_parameters, matched_rank
from dynaxx.evaluation.arms.resonant import ONE_PASS, resonant
from dynaxx.evaluation.arms.task import LoggerFactory, Task


def train(task: Task, seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
    """Train it as `explicit` is trained."""
    target = explicit_parameters(task, seed)
    rank = matched_rank(lambda rank: resonant(task, seed, T=1, rank=rank, **ONE_PASS), target)
    model = resonant(task, seed, mode="explicit", T=1, rank=rank, **ONE_PASS)
    train_on_labels(
        task,
        seed,
        model,
        out,
        checkpoints,
        logger,
        arm="explicit_T1",
        notes={"rank": rank, "T": 1},
        # nothing feeds back into what the only messages read: the residual is 1 - λ whatever is trained
        residual_penalty=0.0,
    )
