"""As much tuning for every arm: the same rates and epochs, judged on validation, on a seed that no evaluation uses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from dynaxx.evaluation.arms import ArmRecord, Run, Task, is_trained
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.records import read_records, write_records
from dynaxx.training.distributed import barrier, rank_zero

Train = Callable[[Task, Run], None]
"""Trains one arm with one seed, as `ARMS[name].train` does."""

SETTINGS = ("lr", "epochs")
"""What is tuned, in this order: the epochs with the learning rate that was chosen."""

FLAT_WITHIN = 0.01
"""A choice is flat where the values beside it lose no more validation accuracy than this."""


@dataclass(frozen=True)
class Tuned:
    """What was tried of one setting for one arm, and what was chosen.

    Attributes:
        arm: its name.
        setting: one of `SETTINGS`.
        values: ascending.
        accuracies: on validation, one a value.
        chosen: the value with the best; the smallest of equals.
    """

    # nested in `_TunedFile` and forbids what it does not know; `int | float` keeps epochs whole when they are read
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    arm: str
    setting: str
    values: list[int | float]
    accuracies: list[float]
    chosen: int | float

    @classmethod
    def of(cls, arm: str, setting: str, values: Sequence[float], accuracies: Sequence[float]) -> Self:
        """Choose."""
        return cls(arm, setting, list(values), list(accuracies), values[accuracies.index(max(accuracies))])

    @property
    def at_the_edge(self) -> bool:
        """Whether a value beyond those tried might do better."""
        return self.chosen in (self.values[0], self.values[-1])

    @property
    def flat(self) -> bool:
        """Whether the choice lies inside, and neither value beside it loses more than `FLAT_WITHIN`."""
        number = self.values.index(self.chosen)
        beside = self.accuracies[max(0, number - 1) : number + 2]
        return not self.at_the_edge and self.accuracies[number] - min(beside) <= FLAT_WITHIN


@dataclass(frozen=True)
class _TunedFile:
    """Content of tuned.json."""

    seed: int
    arms: list[Tuned]


def tune(
    arm: str, train: Train, task: Task, options: Mapping[str, Sequence[float] | None], seed: int, work: Path
) -> list[Tuned]:
    """Choose one setting after the other for one arm; a trial that is finished in `work` is not run again.

    Training that ends in numbers that are not finite counts as accuracy 0.

    Args:
        options: setting → values to try; none leaves it as the task has it.

    Raises:
        EvaluationError: a rate that is not above 0, or epochs that are no whole number from 1 on.
    """
    for setting in SETTINGS:
        _check(setting, options.get(setting) or ())
    values = {setting: sorted(set(options.get(setting) or ())) for setting in SETTINGS}
    found: list[Tuned] = []
    for setting in (setting for setting in SETTINGS if values[setting]):
        trials = [_trial(arm, train, with_settings(task, {setting: v}), seed, work) for v in values[setting]]
        found.append(Tuned.of(arm, setting, values[setting], trials))
        task = with_settings(task, {setting: found[-1].chosen})
    return found


def with_settings(task: Task, settings: Mapping[str, Any]) -> Task:
    """The task trained so; where its patience is longer than training, it stays so."""
    changed = replace(task.train, **settings)
    if "epochs" in settings and task.train.patience >= task.train.epochs:
        changed = replace(changed, patience=changed.epochs)
    return replace(task, train=changed)


def chosen(found: Sequence[Tuned], arm: str) -> dict[str, float]:
    """Setting → value that was chosen for the arm; of what was not tuned none."""
    return {tuned.setting: tuned.chosen for tuned in found if tuned.arm == arm}


def trial_folder(arm: str, task: Task, work: Path) -> Path:
    """Where a trial of the arm with these settings is kept."""
    return work / arm / f"lr-{task.train.lr:g}-epochs-{task.train.epochs}"


def _trial(arm: str, train: Train, task: Task, seed: int, work: Path) -> float:
    out = trial_folder(arm, task, work)
    name = out.name
    if not is_trained(out):
        try:
            train(task, Run(seed, out, work / "checkpoints" / arm / name))
        except FloatingPointError as error:
            print(f"{arm}, {name}: {error}")
            if rank_zero():
                ArmRecord(arm, seed, "own", [], 0, 0, 0.0, 0.0, {"failed": str(error)}).write(out)
        barrier()
    return ArmRecord.read(out).val_accuracy


def _check(setting: str, values: Sequence[float]) -> None:
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise EvaluationError(f"tune.{setting}={list(values)}: give a list of numbers above 0")
        if setting == "epochs" and (not isinstance(value, int) or value < 1):
            raise EvaluationError(f"tune.epochs={list(values)}: give whole numbers from 1 on")
        if not value > 0:
            raise EvaluationError(f"tune.{setting}={list(values)}: give numbers above 0")


def write_tuned(path: Path, found: Sequence[Tuned], seed: int) -> None:
    """Write what was tried, for `read_tuned` and the report."""
    write_records(path, _TunedFile(seed, list(found)))


def read_tuned(path: Path) -> list[Tuned]:
    """What `write_tuned` wrote.

    Raises:
        EvaluationError: missing or damaged.
    """
    return read_records(path, _TunedFile, "tune").arms
