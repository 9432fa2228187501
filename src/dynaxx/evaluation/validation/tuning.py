"""Tuning of every arm with equal trials: learning rates and epochs, on validation, on a seed of its own."""

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
"""Tuned settings, in this order: the epochs are tuned with the chosen learning rate."""

FLAT_WITHIN = 0.01
"""A choice is flat if both neighbouring values lose at most this validation accuracy."""


@dataclass(frozen=True)
class Tuned:
    """Values of one setting that were tried for one arm, and the chosen one.

    Attributes:
        arm: name of the arm.
        setting: one of `SETTINGS`.
        values: tried values, ascending.
        accuracies: validation accuracy per value.
        chosen: the value with the best accuracy; the smallest if several are equal.
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
        """Choose the best value: `Tuned.of("lora", "lr", [1, 2], [0.5, 0.7]).chosen` is 2."""
        return cls(arm, setting, list(values), list(accuracies), values[accuracies.index(max(accuracies))])

    @property
    def at_the_edge(self) -> bool:
        """Whether the chosen value is the smallest or the largest, so that one beyond might be better."""
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
    """Choose one setting after the other for one arm; trials that are complete in `work` do not run again.

    >>> results = tune("lora", ARMS["lora"].train, task, {"lr": [1e-3, 3e-3]}, seed=100, work=Path("work"))
    >>> [(tuned.setting, tuned.values) for tuned in results]
    [('lr', [0.001, 0.003])]

    Training that diverges counts as accuracy 0.

    Args:
        options: setting → values to try; without values the setting of the task stays.

    Raises:
        EvaluationError: a rate that is not above 0, or epochs that are not whole numbers from 1 on.
    """
    for setting in SETTINGS:
        _check(setting, options.get(setting) or ())
    values = {setting: sorted(set(options.get(setting) or ())) for setting in SETTINGS}
    results: list[Tuned] = []
    for setting in (setting for setting in SETTINGS if values[setting]):
        trials = [_trial(arm, train, with_settings(task, {setting: v}), seed, work) for v in values[setting]]
        results.append(Tuned.of(arm, setting, values[setting], trials))
        task = with_settings(task, {setting: results[-1].chosen})
    return results


def with_settings(task: Task, settings: Mapping[str, Any]) -> Task:
    """The task with other settings; patience stays at least as long as training if it was so before."""
    changed = replace(task.train, **settings)
    if "epochs" in settings and task.train.patience >= task.train.epochs:
        changed = replace(changed, patience=changed.epochs)
    return replace(task, train=changed)


def chosen(results: Sequence[Tuned], arm: str) -> dict[str, float]:
    """Setting → chosen value of one arm, for the settings that were tuned."""
    return {tuned.setting: tuned.chosen for tuned in results if tuned.arm == arm}


def trial_folder(arm: str, task: Task, work: Path) -> Path:
    """Folder of the trial of `arm` with the settings of `task`."""
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


def write_tuned(path: Path, results: Sequence[Tuned], seed: int) -> None:
    """Write the tuning results, for `read_tuned` and the report."""
    write_records(path, _TunedFile(seed, list(results)))


def read_tuned(path: Path) -> list[Tuned]:
    """Read what `write_tuned` wrote.

    >>> chosen(read_tuned(Path("outputs/tune/tuned.json")), "lora")
    {'lr': 0.003, 'epochs': 20}

    Raises:
        EvaluationError: missing or damaged.
    """
    return read_records(path, _TunedFile, "tune").arms
