"""The budget that all arms trained in epochs have in common, applied."""

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl

from dynaxx.evaluation.arms.task import LoggerFactory, Task
from dynaxx.training.fit import fit


def fit_arm(
    task: Task,
    module: pl.LightningModule,
    data: pl.LightningDataModule,
    seed: int,
    checkpoints: Path,
    logger: LoggerFactory,
    *,
    epochs: int | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> tuple[float, float]:
    """Train `module` as `task.train` says, for `epochs` in place of its own if given; what `fit` returns and raises."""
    budget = task.train
    return fit(
        module,
        data,
        trainer=task.trainer,
        checkpoints=checkpoints,
        epochs=budget.epochs if epochs is None else epochs,
        patience=budget.patience,
        seed=seed,
        logger=logger(),
        callbacks=callbacks,
        checkpoint_every=budget.checkpoint_every,
    )
