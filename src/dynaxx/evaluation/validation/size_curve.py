"""Validation accuracy of `explicit` by rank and by number of taps, on a seed that no evaluation uses."""

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
    """`explicit` with one option changed.

    Attributes:
        what: the option that is changed.
        value: the rank, or the number of taps.
        taps: module paths of the coupled layers.
        live_parameters: number of parameters of couplings and head.
        accuracy: validation accuracy.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    what: Literal["rank", "taps"]
    value: int
    taps: list[str]
    live_parameters: int
    accuracy: float


def measure_size_curve(
    task: Task, ranks: Sequence[int], taps: Mapping[int, Sequence[str]], seed: int, work: Path
) -> list[SizePoint]:
    """Train `explicit` once per rank and once per set of taps; points complete in `work` are not trained again.

    >>> points = measure_size_curve(task, [8, 16], {2: ["layer2", "layer3"]}, seed=100, work=Path("work"))
    >>> [(point.what, point.value) for point in points]
    [('rank', 8), ('rank', 16), ('taps', 2)]

    Args:
        ranks: trained with the task's taps.
        taps: number of taps → module paths; trained with the task's rank.

    Raises:
        EvaluationError: a rank that is larger than all channels together, and the like; see `wrap_with_resonance`.
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
        points.append(SizePoint(what, value, record.taps, record.live_parameters, record.val_accuracy))  # type: ignore[arg-type]
    return points


def write_size_curve(path: Path, points: Sequence[SizePoint]) -> None:
    """Write the points, for `read_size_curve` and the report."""
    write_records(path, list(points))


def read_size_curve(path: Path) -> list[SizePoint]:
    """Read what `write_size_curve` wrote.

    >>> read_size_curve(Path("outputs/vary/varied.json"))[0].what
    'rank'

    Raises:
        EvaluationError: missing or damaged.
    """
    return read_records(path, list[SizePoint], "vary")
