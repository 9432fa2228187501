"""One trial of a search: train `explicit` with one setting and measure validation accuracy and cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from dynaxx import ResonantModel
from dynaxx.evaluation.arms import ArmRecord, LoggerFactory, Run, Task, explicit, no_logger
from dynaxx.evaluation.arms.resonant import live_parameters, resonant
from dynaxx.evaluation.cost import gflops
from dynaxx.training.fit import TrainerFactory


@dataclass(frozen=True)
class TrialResult:
    """Result of one trial.

    Attributes:
        accuracies: validation accuracy per seed.
        curve: validation accuracy after each epoch of the first seed.
        seconds: training time of all seeds.
    """

    accuracies: list[float]
    curve: list[float]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Mean validation accuracy over the seeds."""
        return sum(self.accuracies) / len(self.accuracies)


def untrained(task: Task, seed: int) -> ResonantModel:
    """The model before `run_trial` trains it; training does not change its cost if T is fixed."""
    return resonant(task, seed, mode="explicit").eval()


def cost(task: Task, model: ResonantModel) -> tuple[float, int]:
    """(10⁹ floating-point operations per image, live parameters)."""
    return gflops(model, task.example()), live_parameters(model)


def run_trial(
    task: Task, seeds: Sequence[int], work: Path, *, first: TrainerFactory | None = None, name: str = "explicit"
) -> TrialResult:
    """Train `explicit` with each seed.

    >>> len(run_trial(task, seeds=[100, 101], work=Path("work")).accuracies)
    2

    Args:
        seeds: seeds that no evaluation uses.
        work: folder for the files of training; the caller removes it.
        first: trainer of the first seed, which may end the trial early; by default the task's own.
        name: name of the subfolder.

    Raises:
        FloatingPointError: training diverged to numbers that are not finite.
        ResonanceError: the setting does not fit the backbone.
    """
    started, accuracies, curve = time.perf_counter(), [], Curve()
    for number, seed in enumerate(seeds):
        own = replace(task, trainer=first) if first is not None and number == 0 else task
        out = work / name / f"seed-{seed}"
        logger: LoggerFactory = (lambda: curve) if number == 0 else no_logger
        explicit.train(own, Run(seed, out, work / "checkpoints" / f"seed-{seed}", logger))
        accuracies.append(ArmRecord.read(out).val_accuracy)
    return TrialResult(accuracies, curve.values, time.perf_counter() - started)


class Curve(Logger):
    """Keeps the validation accuracies that Lightning logs, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[float] = []

    @property
    def name(self) -> str:
        return "curve"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing: the search records them itself."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "val/accuracy" in metrics:
            self.values.append(float(metrics["val/accuracy"]))
