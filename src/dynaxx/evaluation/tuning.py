"""As much tuning for every arm: the same learning rates, judged on validation, on a seed that no evaluation uses."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from dynaxx.evaluation.arms.facts import ArmFacts
from dynaxx.evaluation.arms.task import LoggerFactory, Task
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.files import write_text
from dynaxx.training.rank import barrier, rank_zero

Train = Callable[[Task, int, Path, Path, LoggerFactory], None]
"""An arm's training, as in `RIVALS`."""

FLAT = 0.01
"""A choice is flat where the rates beside it lose no more validation accuracy than this."""


@dataclass(frozen=True)
class Tuned:
    """What was tried for one arm, and what was chosen.

    Attributes:
        arm: its name.
        rates: learning rates, ascending.
        accuracies: on validation, one a rate.
        lr: the rate with the best; the smallest of equals.
    """

    arm: str
    rates: list[float]
    accuracies: list[float]
    lr: float

    @classmethod
    def of(cls, arm: str, rates: Sequence[float], accuracies: Sequence[float]) -> Self:
        """Choose."""
        return cls(arm, list(rates), list(accuracies), rates[accuracies.index(max(accuracies))])

    @property
    def at_the_edge(self) -> bool:
        """Whether a rate beyond those tried might do better."""
        return self.lr in (self.rates[0], self.rates[-1])

    @property
    def flat(self) -> bool:
        """Whether the choice lies inside, and neither rate beside it loses more than `FLAT`."""
        number = self.rates.index(self.lr)
        beside = self.accuracies[max(0, number - 1) : number + 2]
        return not self.at_the_edge and self.accuracies[number] - min(beside) <= FLAT


def tune(arm: str, train: Train, task: Task, rates: Sequence[float], seed: int, work: Path) -> Tuned:
    """Train one arm with every rate; a trial that is finished in `work` is not run again.

    A rate at which training ends in numbers that are not finite counts as accuracy 0.
    """
    accuracies = []
    for lr in sorted(rates):
        out = work / arm / f"lr-{lr:g}"
        if not (out / "arm.json").exists():
            trial = replace(task, train=replace(task.train, lr=lr))
            try:
                train(trial, seed, out, work / "checkpoints" / arm / f"lr-{lr:g}", lambda: False)
            except FloatingPointError as error:
                print(f"{arm}, lr={lr:g}: {error}")
                if rank_zero():
                    ArmFacts(arm, seed, "own", [], 0, 0, 0.0, 0.0, {"failed": str(error)}).write(out)
            barrier()
        accuracies.append(ArmFacts.read(out).val_accuracy)
    return Tuned.of(arm, sorted(rates), accuracies)


def write_tuned(path: Path, found: Sequence[Tuned], seed: int) -> None:
    """Write what was tried, for `read_tuned` and the report."""
    write_text(path, json.dumps({"seed": seed, "arms": [asdict(tuned) for tuned in found]}, indent=2) + "\n")


def read_tuned(path: Path) -> list[Tuned]:
    """What `write_tuned` wrote.

    Raises:
        EvaluationError: missing or damaged.
    """
    try:
        arms: list[dict[str, Any]] = json.loads(path.read_text())["arms"]
        return [Tuned(**arm) for arm in arms]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path}: cannot be read ({error}); run `dvc repro -f tune`") from None
