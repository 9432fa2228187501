"""How explicit fares with other ranks and other numbers of taps, on validation, on a seed that no evaluation uses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from dynaxx.evaluation.arms import ARMS, EXPLICIT, ArmRecord, Run, Task, is_trained
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.files import write_text
from dynaxx.training.distributed import barrier


@dataclass(frozen=True)
class Varied:
    """Explicit with one thing changed.

    Attributes:
        what: is changed.
        value: rank, or number of taps.
        taps: that were coupled.
        live_parameters: of couplings and head.
        accuracy: on validation.
    """

    what: Literal["rank", "taps"]
    value: int
    taps: list[str]
    live_parameters: int
    accuracy: float


def vary(task: Task, ranks: Sequence[int], taps: Mapping[int, Sequence[str]], seed: int, work: Path) -> list[Varied]:
    """Train explicit once for each rank, and once for each set of taps; what is finished in `work` is not run again.

    Args:
        ranks: with the task's taps.
        taps: by number; with the task's rank.

    Raises:
        EvaluationError: a rank that is larger than all channels together, and the like; see `wrap_with_resonance`.
    """
    trials = [("rank", rank, replace(task, resonance=task.resonance | {"rank": rank})) for rank in ranks]
    trials += [("taps", count, replace(task, taps=list(paths))) for count, paths in taps.items()]
    found = []
    for what, value, trial in trials:
        out = work / f"{what}-{value}"
        if not is_trained(out):
            ARMS[EXPLICIT].train(trial, Run(seed, out, work / "checkpoints" / f"{what}-{value}"))
            barrier()
        record = ArmRecord.read(out)
        found.append(Varied(what, value, record.taps, record.live_parameters, record.val_accuracy))  # type: ignore[arg-type]
    return found


def write_varied(path: Path, found: Sequence[Varied]) -> None:
    """Write what was found, for `read_varied` and the report."""
    write_text(path, json.dumps([asdict(varied) for varied in found], indent=2) + "\n")


def read_varied(path: Path) -> list[Varied]:
    """What `write_varied` wrote.

    Raises:
        EvaluationError: missing or damaged.
    """
    try:
        return [Varied(**varied) for varied in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError) as error:
        raise EvaluationError(f"{path}: cannot be read ({error}); run `dvc repro -f vary`") from None
