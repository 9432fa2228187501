"""One Lightning fit; a killed fit resumes from its last checkpoint and gives the same results."""

import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dynaxx.training.callbacks import BestWeights, FiniteLoss, RunawayStop
from dynaxx.training.kind_module import SCORE, KindModule

LAST = "last.ckpt"

TrainerFactory = Callable[..., pl.Trainer]
"""A function that makes a Lightning Trainer from callbacks, logger and epochs; Hydra creates it from `conf/trainer`."""


class FitError(ValueError):
    """The error for options with which no training or no validation can happen; one line that names the option."""


class TrainingTime(Callback):
    """The seconds spent in training epochs, without validation, summed over all restarts of a resumed fit."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.since: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.since = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.since = time.perf_counter()  # an epoch may go on after a validation

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.since is not None:
            self.seconds += time.perf_counter() - self.since
        self.since = None

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]


def fit(
    module: KindModule,
    data: pl.LightningDataModule,
    *,
    trainer: TrainerFactory,
    checkpoints: Path,
    epochs: int,
    patience: int,
    seed: int,
    logger: Any = False,
    callbacks: Sequence[Callback] = (),
    checkpoint_every: int = 1,
) -> tuple[float, float]:
    """Train `module`, and load the weights of its best validation epoch at the end.

    >>> value, seconds = fit(module, data, trainer=lightning.pytorch.Trainer, checkpoints=Path("checkpoints"),
    ...                         epochs=30, patience=10, seed=0)

    Args:
        module: module that is trained; the metric of its task kind decides.
        data: training and validation batches.
        trainer: factory of the trainer, see `TrainerFactory`.
        checkpoints: folder that only this fit uses; the fit resumes from a checkpoint found there.
        epochs: largest number of epochs.
        patience: number of epochs without a better validation score after which training stops.
        seed: seed of all random numbers in training.
        logger: Lightning logger; False disables logging.
        callbacks: further callbacks.
        checkpoint_every: number of epochs between two checkpoints.

    Returns:
        (best value of the kind's metric on the validation samples, training seconds).

    Raises:
        FitError: the trainer is refused, or the training ended before its first validation.
        FloatingPointError: the loss or a gradient is not finite.
        KeyboardInterrupt: Ctrl-C, or SIGTERM in a stage.
        OSError: a checkpoint cannot be written.
    """
    quiet()
    pl.seed_everything(seed, workers=True, verbose=False)
    best, training_time = BestWeights(), TrainingTime()
    runner = make_trainer(
        trainer,
        checkpoints=checkpoints,
        epochs=epochs,
        patience=patience,
        logger=logger,
        callbacks=[*callbacks, best, training_time],
        checkpoint_every=checkpoint_every,
    )
    module.train()  # Lightning keeps the module's mode, and a new resonant model is in eval mode
    last = checkpoints / LAST
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", message=r".*module\(s\) in eval mode.*")  # the frozen backbone
        try:
            runner.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
        except MisconfigurationException as error:
            raise FitError(f"trainer: {_one_line(error)}") from None
        except SystemExit as ended:
            if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning would end the process in its stead
                raise KeyboardInterrupt from None
            raise
    if best.score is None:
        given = ", ".join(f"trainer.{name}={getattr(runner, name)}" for name in _changed(runner))
        raise FitError(
            f"training of {epochs} epochs ended before its first validation, so there is no {module.kind.metric.name}; "
            f"change {given or 'the options of the trainer'}"
        )
    best.restore(module.eval())
    # oriented twice it has its own sign again
    return module.kind.metric.oriented(best.score), training_time.seconds


def make_trainer(
    trainer: TrainerFactory,
    *,
    checkpoints: Path,
    epochs: int,
    patience: int,
    logger: Any = False,
    callbacks: Sequence[Callback] = (),
    checkpoint_every: int = 1,
) -> pl.Trainer:
    """Make the trainer of one fit, and check that it trains and validates at least once.

    >>> runner = make_trainer(lightning.pytorch.Trainer, checkpoints=Path("checkpoints"), epochs=30, patience=10)

    Args:
        trainer: factory of the trainer, see `TrainerFactory`.
        checkpoints: folder of the checkpoints.
        epochs: largest number of epochs.
        patience: number of epochs without a better validation score after which training stops.
        logger: Lightning logger; False disables logging.
        callbacks: callbacks that come before those of every fit.
        checkpoint_every: number of epochs between two checkpoints.

    Raises:
        FitError: Lightning refuses an option of the trainer, or nothing would be trained or validated.
    """
    quiet()
    bar = sys.stderr.isatty()
    saver = ModelCheckpoint(
        checkpoints,
        filename="last",
        save_top_k=1,
        every_n_epochs=checkpoint_every,
        enable_version_counter=False,
    )
    try:
        runner = trainer(
            max_epochs=epochs,
            logger=logger,
            callbacks=[
                *callbacks,
                FiniteLoss(),
                RunawayStop(),
                EarlyStopping(SCORE, mode="max", patience=patience, check_finite=False),
                saver,
                *([RichProgressBar(leave=True)] if bar else []),
            ],
            enable_progress_bar=bar,
            enable_model_summary=False,
            log_every_n_steps=50,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, ImportError, ValueError, TypeError, RuntimeError) as error:
        raise FitError(f"trainer: {_one_line(error)}") from None
    for name in ("limit_train_batches", "limit_val_batches"):
        if getattr(runner, name) == 0:
            raise FitError(f"trainer.{name}=0: nothing would be trained or validated; leave it out, or give more")
    if (runner.check_val_every_n_epoch or 0) > epochs:
        raise FitError(
            f"trainer.check_val_every_n_epoch={runner.check_val_every_n_epoch}: {epochs} epochs would end before the "
            "first validation; give at most that many"
        )
    if runner.fast_dev_run:  # type: ignore[attr-defined]
        raise FitError(f"trainer.fast_dev_run={runner.fast_dev_run}: it saves nothing; leave it out")  # type: ignore[attr-defined]
    for name, given in (("max_steps", runner.max_steps), ("min_steps", runner.min_steps)):
        if given not in (-1, None):
            raise FitError(f"trainer.{name}={given}: trainings are counted in epochs; leave it out, give train.epochs")
    if (runner.min_epochs or 0) > epochs:
        raise FitError(f"trainer.min_epochs={runner.min_epochs}: is more than the {epochs} epochs; leave it out")
    if runner.accumulate_grad_batches < 1:
        raise FitError(f"trainer.accumulate_grad_batches={runner.accumulate_grad_batches}: give a number of at least 1")
    if runner.val_check_interval == 0:
        raise FitError("trainer.val_check_interval=0: give a number above 0, or leave it out")
    return runner


def _changed(runner: pl.Trainer) -> list[str]:
    """Options that can keep a training from its first validation, as far as they are changed."""
    usual = {"check_val_every_n_epoch": 1, "val_check_interval": 1.0, "limit_train_batches": 1.0,
             "limit_val_batches": 1.0}  # fmt: skip
    return [name for name, value in usual.items() if getattr(runner, name) != value]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def quiet() -> None:
    """Suppress Lightning's tips and device lines in the stages' output, but not its warnings."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
