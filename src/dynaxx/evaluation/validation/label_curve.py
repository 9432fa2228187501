"""Label-efficiency curve: validation scores of arms (competitors) by number of labelled training images.

The arms train with a seed that no evaluation on test images uses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from dynaxx.evaluation.arms import ARMS, ArmRecord, Run, Task, is_trained, named
from dynaxx.evaluation.records import read_records, write_records
from dynaxx.training.distributed import barrier

CURVE_ARMS = named("baseline", "direct", "explicit")
"""Arms of the curve: the linear probe or own head, the single-pass rival of `explicit`, and `explicit`."""


@dataclass(frozen=True)
class LabelPoint:
    """Validation score of one arm that was trained on a part of the labelled images.

    Attributes:
        arm: name of the arm.
        labels: number of labelled training images.
        score: the task's metric on validation images; the number of validation images is the same for every point.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    arm: str
    labels: int
    score: float


def passes(epochs: int, whole: int, some: int) -> int:
    """Epochs E √(N / n) for n = `some` images if N = `whole` images get E = `epochs`: more epochs, fewer steps.

    Example: `passes(10, 400, 100)` is 20.
    """
    return max(1, round(epochs * (whole / some) ** 0.5))


def with_labels(task: Task, count: int) -> Task:
    """A copy of the task with `count` training images, and with more epochs and patience (see `passes`)."""
    whole = len(task.images) - task.n_val if task.n_train is None else task.n_train
    options = task.train
    epochs, patience = (passes(n, whole, count) for n in (options.epochs, options.patience))
    return replace(task, n_train=count, train=replace(options, epochs=epochs, patience=patience))


def measure_label_curve(tasks: Mapping[str, Task], counts: Sequence[int], seed: int, work: Path) -> list[LabelPoint]:
    """Train each arm with each number of labelled images; trainings that are complete in `work` are reused.

    >>> points = measure_label_curve({"baseline": task, "direct": task}, [50, 100], seed=100, work=Path("work"))
    >>> [point.labels for point in points]
    [50, 50, 100, 100]

    Args:
        tasks: name of an arm → its task, with the tuned settings of the arm.
        counts: numbers of labelled training images.
        seed: seed of every training.
        work: folder of the trainings.

    Raises:
        DataError: a count is larger than the training set, or too small for the number of classes.
    """
    points = []
    for count in counts:
        folder = work / f"labels-{count}"
        for arm, whole in tasks.items():
            task = replace(with_labels(whole, count), probes=folder / "baseline")
            out = folder / arm / f"seed-{seed}"
            if not is_trained(out):
                ARMS[arm].train(task, Run(seed, out, work / "checkpoints" / f"labels-{count}-{arm}"))
                barrier()
            points.append(LabelPoint(arm, count, ArmRecord.read(out).val_score))
    return points


def write_label_curve(path: Path, points: Sequence[LabelPoint]) -> None:
    """Write the points of the curve to the JSON file `path`, which `read_label_curve` reads."""
    write_records(path, list(points))


def read_label_curve(path: Path) -> list[LabelPoint]:
    """Read the points of the curve from a JSON file that `write_label_curve` wrote.

    >>> read_label_curve(Path("outputs/vary/labels.json"))
    [LabelPoint(arm='direct', labels=50, score=0.5)]

    Raises:
        EvaluationError: the file is missing or damaged.
    """
    return read_records(path, list[LabelPoint], "vary")
