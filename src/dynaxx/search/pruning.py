"""Pruning from within Lightning: a trial ends early if earlier trials were better at the same epoch."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from optuna.trial import Trial
from optuna_integration import PyTorchLightningPruningCallback

from dynaxx.tasks import Metric

TrainerFactory = Callable[..., pl.Trainer]


def pruned_by(trainer: TrainerFactory, trial: Trial, metric: Metric) -> TrainerFactory:
    """Extend `trainer` by a callback that reports each epoch's metric on validation images to the trial's pruner.

    Training raises `optuna.TrialPruned` in the epoch in which the pruner stops the trial.

    >>> trainer = pruned_by(lightning.pytorch.Trainer, trial, Metric("accuracy"))
    >>> runner = trainer(max_epochs=30)
    """

    def with_callback(**options: Any) -> pl.Trainer:
        pruning = PyTorchLightningPruningCallback(trial, monitor=metric.on_validation)
        return trainer(**options | {"callbacks": [*options.get("callbacks", ()), pruning]})

    return with_callback
