"""One trial of a hyperparameter search: train `explicit` with one setting; measure its validation score and cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from dynaxx import ResonantModel
from dynaxx.evaluation.arms import ARMS, EXPLICIT, ArmRecord, LoggerFactory, Run, Task, no_logger
from dynaxx.evaluation.arms.resonant import live_parameters, wrapped
from dynaxx.evaluation.cost import gflops
from dynaxx.tasks import Metric
from dynaxx.training.fit import TrainerFactory


@dataclass(frozen=True)
class TrialResult:
    """Validation scores and training time of one trial.

    Attributes:
        scores: the task's metric on validation images after training, one per seed.
        curve: the same after each epoch of the first seed.
        seconds: total training time of all seeds, in seconds.
    """

    scores: list[float]
    curve: list[float]
    seconds: float

    @property
    def score(self) -> float:
        """Mean score over the seeds."""
        return sum(self.scores) / len(self.scores)


def untrained(task: Task, seed: int) -> ResonantModel:
    """The untrained model of `explicit`; if the number of iterations T is fixed, training does not change its cost."""
    return wrapped(task, seed, mode="explicit").eval()


def cost(task: Task, model: ResonantModel) -> tuple[float, int]:
    """(10⁹ floating-point operations per image, number of trained parameters that can change the output)."""
    return gflops(model, task.example()), live_parameters(model)


def run_trial(
    task: Task, seeds: Sequence[int], work: Path, *, first: TrainerFactory | None = None, name: str = "explicit"
) -> TrialResult:
    """Train `explicit` once per seed and return the validation scores.

    >>> len(run_trial(task, seeds=[100, 101], work=Path("work")).scores)
    2

    Args:
        task: data, backbone and the setting of the trial.
        seeds: seeds that no evaluation on test images uses.
        work: folder for the trained models and checkpoints; the caller removes it.
        first: function that makes the trainer of the first seed, which may stop a poor trial early; by default the
            trainer of the task.
        name: name of the subfolder of `work` for the trained models.

    Raises:
        FloatingPointError: training diverged to NaN or infinite values.
        ResonanceError: the setting is not valid for the backbone.
    """
    started, scores, curve = time.perf_counter(), [], Curve(task.kind.metric)
    for number, seed in enumerate(seeds):
        own = replace(task, trainer=first) if first is not None and number == 0 else task
        out = work / name / f"seed-{seed}"
        logger: LoggerFactory = (lambda: curve) if number == 0 else no_logger
        ARMS[EXPLICIT].train(own, Run(seed, out, work / "checkpoints" / f"seed-{seed}", logger))
        scores.append(ArmRecord.read(out).val_score)
    return TrialResult(scores, curve.values, time.perf_counter() - started)


class Curve(Logger):
    """Lightning logger that keeps a metric on validation images of every epoch in memory.

    >>> curve = Curve(Metric("rmse", higher_is_better=False))
    >>> curve.log_metrics({"val/rmse": 0.5, "val/score": -0.5})
    >>> curve.values
    [0.5]
    """

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        self.logged = metric.on_validation
        self.values: list[float] = []

    @property
    def name(self) -> str:
        return "curve"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Ignore the hyperparameters, because the hyperparameter search records them itself."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.logged in metrics:
            self.values.append(float(metrics[self.logged]))
