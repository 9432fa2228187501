"""The training recipe of all arms that train in epochs: one budget, one training loop, one source of images."""

from collections.abc import Sequence

import lightning.pytorch as pl

from dynaxx.data import ImageData
from dynaxx.evaluation.arms.task import Run, Task
from dynaxx.spent import TRAINING, spent
from dynaxx.training.fit import fit
from dynaxx.training.kind_module import KindModule


def fit_arm(
    task: Task,
    run: Run,
    module: KindModule,
    data: pl.LightningDataModule,
    *,
    epochs: int | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> tuple[float, float]:
    """Train `module` within the budget `task.train`; returns values and raises errors of `fit`.

    >>> val_score, seconds = fit_arm(task, run, module, image_data(task, run.seed))

    Args:
        epochs: number of epochs, if not the one in `task.train`.
    """
    budget = task.train
    with spent(TRAINING):
        return fit(
            module,
            data,
            trainer=task.trainer,
            checkpoints=run.checkpoints,
            epochs=budget.epochs if epochs is None else epochs,
            patience=budget.patience,
            seed=run.seed,
            logger=run.logger(),
            callbacks=callbacks,
            checkpoint_every=budget.checkpoint_every,
        )


def image_data(task: Task, seed: int) -> ImageData:
    """Training and validation images of one seed, for arms that run the whole network in every step."""
    train, val = task.split(seed)
    return ImageData(
        task.images.subset(train),
        task.images.subset(val),
        normalisation=task.normalisation,
        batch_size=task.train.batch_size,
        augmentation=task.train.augmentation,
        seed=seed,
    )
