"""Ending a trial early, from within Lightning, where trials before it were better by then."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from optuna.trial import Trial
from optuna_integration import PyTorchLightningPruningCallback

TrainerFactory = Callable[..., pl.Trainer]


def pruned_by(trainer: TrainerFactory, trial: Trial) -> TrainerFactory:
    """`trainer` with a callback that reports each epoch's validation accuracy to the trial's pruner.

    Training it raises `optuna.TrialPruned` in the epoch in which the pruner says so.
    """

    def with_callback(**options: Any) -> pl.Trainer:
        pruning = PyTorchLightningPruningCallback(trial, monitor="val/accuracy")
        return trainer(**options | {"callbacks": [*options.get("callbacks", ()), pruning]})

    return with_callback
