"""Validation score of the arm `explicit` by coupling rank and by number of tapped layers (taps).

All trainings have a seed that no evaluation on test images uses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict

from dynaxx.evaluation.arms import ARMS, EXPLICIT, ArmRecord, Run, Task, is_trained
from dynaxx.evaluation.records import read_records, write_records
from dynaxx.training.distributed import barrier


@dataclass(frozen=True)
class SizePoint:
    """Validation score of `explicit`, trained with one option changed.

    Attributes:
        what: the changed option, either the rank of the couplings or the set of tapped layers.
        value: the rank, or the number of tapped layers.
        taps: module paths of the tapped layers, which the couplings connect.
        live_parameters: number of trained parameters that can change the output.
        score: the task's metric on the validation images.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    what: Literal["rank", "taps"]
    value: int
    taps: list[str]
    live_parameters: int
    score: float


def measure_size_curve(
    task: Task, ranks: Sequence[int], taps: Mapping[int, Sequence[str]], seed: int, work: Path
) -> list[SizePoint]:
    """Train `explicit` once per rank and once per set of tapped layers; complete trainings in `work` are reused.

    >>> points = measure_size_curve(task, [8, 16], {2: ["layer2", "layer3"]}, seed=100, work=Path("work"))
    >>> [(point.what, point.value) for point in points]
    [('rank', 8), ('rank', 16), ('taps', 2)]

    Args:
        task: data, backbone and settings of `explicit`.
        ranks: ranks of the couplings; these trainings keep the tapped layers of the task.
        taps: number of tapped layers → their module paths; these trainings keep the rank of the task.
        seed: seed of every training.
        work: folder of the trainings.

    Raises:
        EvaluationError: a rank is larger than the total number of channels, or another option is not valid; see
            `wrap_with_resonance`.
    """
    trials = [("rank", rank, replace(task, resonance=task.resonance | {"rank": rank})) for rank in ranks]
    trials += [("taps", count, replace(task, taps=list(paths))) for count, paths in taps.items()]
    points = []
    for what, value, trial in trials:
        out = work / f"{what}-{value}"
        if not is_trained(out):
            ARMS[EXPLICIT].train(trial, Run(seed, out, work / "checkpoints" / f"{what}-{value}"))
            barrier()
        record = ArmRecord.read(out)
        points.append(SizePoint(what, value, record.taps, record.live_parameters, record.val_score))  # type: ignore[arg-type]
    return points


def write_size_curve(path: Path, points: Sequence[SizePoint]) -> None:
    """Write the points of the curve to the JSON file `path`, which `read_size_curve` reads."""
    write_records(path, list(points))


def read_size_curve(path: Path) -> list[SizePoint]:
    """Read the points of the curve from a JSON file that `write_size_curve` wrote.

    >>> read_size_curve(Path("outputs/vary/varied.json"))[0].what
    'rank'

    Raises:
        EvaluationError: the file is missing or damaged.
    """
    return read_records(path, list[SizePoint], "vary")
