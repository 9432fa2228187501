"""Tuning of the learning rate and the epochs of every arm (competitor), with equally many trials for each.

The trials measure the task's metric on validation images, with a seed that no evaluation on test images uses.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from dynaxx.evaluation.arms import ArmRecord, Run, Task, is_trained
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.records import read_records, write_records
from dynaxx.tasks import Metric
from dynaxx.training.distributed import barrier, rank_zero

Train = Callable[[Task, Run], None]
"""Function that trains one arm with one seed, such as `ARMS[name].train`."""

SETTINGS = ("lr", "epochs")
"""Tuned settings, in order: first the learning rate, then the epochs with the chosen learning rate."""

FLAT_WITHIN = 0.01
"""Largest loss at both neighbouring values, relative to the chosen value's score, for which a choice is flat."""


FAILED = "failed"
"""Note of a trial whose training diverged; its record has no score, as JSON has no number for the worst of all."""


@dataclass(frozen=True)
class Tuned:
    """Result of tuning one setting of one arm: the tried values, their scores, and the chosen value.

    Attributes:
        arm: name of the arm.
        setting: one of `SETTINGS`.
        values: tried values of the setting, ascending.
        scores: the task's metric on validation of each tried value; None if its training diverged.
        chosen: the value with the best score; the smallest such value if several are equal.
    """

    # nested in `_TunedFile` and forbids what it does not know; `int | float` keeps epochs whole when they are read
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    arm: str
    setting: str
    values: list[int | float]
    scores: list[float | None]
    chosen: int | float

    @classmethod
    def of(
        cls, arm: str, setting: str, values: Sequence[float], scores: Sequence[float | None], metric: Metric
    ) -> Self:
        """Choose the value with the best score.

        >>> Tuned.of("lora", "lr", [1, 2], [0.5, 0.7], Metric("accuracy")).chosen
        2
        >>> Tuned.of("lora", "lr", [1, 2], [0.5, 0.7], Metric("rmse", higher_is_better=False)).chosen
        1

        Args:
            values: tried values, ascending.
            scores: the metric of each value; None if its training diverged, which is worse than any number.
            metric: the task's metric, which knows which of two numbers is better.
        """
        oriented = [-math.inf if score is None else metric.oriented(score) for score in scores]
        return cls(arm, setting, list(values), list(scores), values[oriented.index(max(oriented))])

    @property
    def at_the_edge(self) -> bool:
        """Whether the chosen value is the smallest or largest tried, so that an untried value might be better."""
        return self.chosen in (self.values[0], self.values[-1])

    @property
    def flat(self) -> bool:
        """Whether the chosen value is not at the edge, and both neighbours lose at most `FLAT_WITHIN` of its score."""
        number = self.values.index(self.chosen)
        best = self.scores[number]
        if self.at_the_edge or best is None:
            return False
        beside = self.scores[number - 1], self.scores[number + 1]
        return all(score is not None and abs(best - score) <= FLAT_WITHIN * abs(best) for score in beside)


@dataclass(frozen=True)
class _TunedFile:
    """Content of the file tuned.json: the seed of the trials, and the results of all arms."""

    seed: int
    arms: list[Tuned]


def tune(
    arm: str, train: Train, task: Task, options: Mapping[str, Sequence[float] | None], seed: int, work: Path
) -> list[Tuned]:
    """Choose the learning rate, then the epochs of one arm by the task's metric; `work` keeps complete trials.

    >>> results = tune("lora", ARMS["lora"].train, task, {"lr": [1e-3, 3e-3]}, seed=100, work=Path("work"))
    >>> [(tuned.setting, tuned.values) for tuned in results]
    [('lr', [0.001, 0.003])]

    A trial whose training diverges is worse than any that does not.

    Args:
        arm: name of the arm.
        train: function that trains the arm.
        task: data, backbone and settings of the arm.
        options: setting → values to try; a setting without values keeps its value in the task.
        seed: seed of every trial.
        work: folder of the trials; a complete trial in it does not run again.

    Raises:
        EvaluationError: a learning rate is not above 0, or a number of epochs is not a whole number from 1 on.
    """
    for setting in SETTINGS:
        _check(setting, options.get(setting) or ())
    values = {setting: sorted(set(options.get(setting) or ())) for setting in SETTINGS}
    results: list[Tuned] = []
    for setting in (setting for setting in SETTINGS if values[setting]):
        trials = [_trial(arm, train, with_settings(task, {setting: v}), seed, work) for v in values[setting]]
        results.append(Tuned.of(arm, setting, values[setting], trials, task.kind.metric))
        task = with_settings(task, {setting: results[-1].chosen})
    return results


def with_settings(task: Task, settings: Mapping[str, Any]) -> Task:
    """A copy of the task with other settings; early stopping stays off if patience covered all epochs before."""
    changed = replace(task.train, **settings)
    if "epochs" in settings and task.train.patience >= task.train.epochs:
        changed = replace(changed, patience=changed.epochs)
    return replace(task, train=changed)


def chosen(results: Sequence[Tuned], arm: str) -> dict[str, float]:
    """Setting → chosen value, for the tuned settings of one arm."""
    return {tuned.setting: tuned.chosen for tuned in results if tuned.arm == arm}


def trial_folder(arm: str, task: Task, work: Path) -> Path:
    """Folder in `work` of the trial that trains `arm` with the learning rate and epochs of `task`."""
    return work / arm / f"lr-{task.train.lr:g}-epochs-{task.train.epochs}"


def _trial(arm: str, train: Train, task: Task, seed: int, work: Path) -> float | None:
    """The metric of one trial on validation images; None if its training diverged."""
    out = trial_folder(arm, task, work)
    name = out.name
    if not is_trained(out):
        try:
            train(task, Run(seed, out, work / "checkpoints" / arm / name))
        except FloatingPointError as error:
            print(f"{arm}, {name}: {error}")
            if rank_zero():
                ArmRecord(arm, seed, "own", [], 0, 0, 0.0, 0.0, {FAILED: str(error)}).write(out)
        barrier()
    record = ArmRecord.read(out)
    return None if FAILED in record.notes else record.val_score


def _check(setting: str, values: Sequence[float]) -> None:
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise EvaluationError(f"tune.{setting}={list(values)}: give a list of numbers above 0")
        if setting == "epochs" and (not isinstance(value, int) or value < 1):
            raise EvaluationError(f"tune.epochs={list(values)}: give whole numbers from 1 on")
        if not value > 0:
            raise EvaluationError(f"tune.{setting}={list(values)}: give numbers above 0")


def write_tuned(path: Path, results: Sequence[Tuned], seed: int) -> None:
    """Write the tuning results and the seed to the JSON file `path`, which `read_tuned` reads."""
    write_records(path, _TunedFile(seed, list(results)))


def read_tuned(path: Path) -> list[Tuned]:
    """Read the tuning results of all arms from a JSON file that `write_tuned` wrote.

    >>> chosen(read_tuned(Path("outputs/tune/tuned.json")), "lora")
    {'lr': 0.003, 'epochs': 20}

    Raises:
        EvaluationError: the file is missing or damaged.
    """
    return read_records(path, _TunedFile, "tune").arms
