"""One file per fit: what it scores on each test sample, and how it was trained.

    experiments/results/suite/CASE/ARM/seed-N.safetensors    values, and influence where it differs, (N,)
    experiments/results/suite/CASE/case.json                 taps, groups of the test samples, fingerprint
    experiments/results/suite/CASE/tuned/ARM.json            what was tried on validation

The files suffice for every table, and those of several machines lie side by side.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynaxx.evaluation.statistics import Scores
from dynaxx.files import write_text

FOLDER = Path(__file__).parents[1] / "results" / "suite"
CASE = "case.json"
AT = "at "
"""What names of scores on other samples begin with."""


@dataclass(frozen=True)
class Fit:
    """How one arm was trained with one seed, and what it reached.

    >>> Fit.read(FOLDER / "digits-600" / "direct" / "seed-0.safetensors").arm  # doctest: +SKIP
    'direct'

    Attributes:
        arm, seed: the arm, and its seed.
        test, validation: the task's metric on test and validation samples, as the metric is told.
        measures: other metrics on test samples, by name.
        trained, live: numbers of parameters that were trained, and that the output depends on.
        seconds: time of training alone, without reading the backbone's anchors.
        settings: learning rate, epochs and what else was chosen for the arm.
        notes: further facts, as the arm's record has them.
        hardware: where it was fitted.
        elsewhere: the metric on other samples, or with other numbers of iterations, by name.
    """

    arm: str
    seed: int
    test: float
    validation: float
    measures: dict[str, float]
    trained: int
    live: int
    seconds: float
    settings: dict[str, float]
    notes: dict[str, Any]
    hardware: dict[str, Any] = field(default_factory=dict)
    elsewhere: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path, scores: Scores, elsewhere: Mapping[str, Tensor] | None = None) -> None:
        """Write the record, the scores (1, N) and those of other samples by name, (N,) each, to `path`."""
        tensors = {"values": _small(scores.values[0])}
        if (scores.influence != scores.values).any():
            tensors["influence"] = _small(scores.influence[0])
        tensors |= {f"{AT}{name}": values.half() for name, values in (elsewhere or {}).items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}")
        save_file(tensors, aside, metadata={"fit": json.dumps(asdict(self))})
        aside.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Fit":
        """Read the record."""
        with safe_open(path, "pt") as file:
            return cls(**json.loads(file.metadata()["fit"]))


def _small(values: Any) -> Tensor:
    scores = torch.as_tensor(values)
    return scores.to(torch.uint8) if ((scores == 0) | (scores == 1)).all() else scores.float()


def scores_of(path: Path) -> Scores:
    """The scores of one fit, (1, N)."""
    with safe_open(path, "pt") as file:
        values = file.get_tensor("values").double()
        influence = file.get_tensor("influence").double() if "influence" in file.keys() else values  # noqa: SIM118
    return Scores(values[None].numpy(), influence[None].numpy())


def scores_elsewhere(path: Path) -> dict[str, Tensor]:
    """The scores of one fit on other samples, (N,) each, by name."""
    with safe_open(path, "pt") as file:
        return {key.removeprefix(AT): file.get_tensor(key).float() for key in file.keys() if key.startswith(AT)}  # noqa: SIM118


@dataclass(frozen=True)
class CaseResults:
    """All fits of one case.

    Attributes:
        about: what `case.json` says.
        fits: arm → seed → record.
        scores: arm → seed → scores (1, N).
    """

    about: dict[str, Any]
    fits: Mapping[str, Mapping[int, Fit]]
    scores: Mapping[str, Mapping[int, Scores]]

    def joined(self, arm: str, seeds: list[int]) -> Scores:
        """The scores of an arm with some seeds, (S, N)."""
        return Scores.joined([self.scores[arm][seed] for seed in seeds])


def read_case(name: str, folder: Path = FOLDER) -> CaseResults | None:
    """The results of a case; None if there are none.

    >>> read_case("no such case") is None
    True
    """
    if not (folder / name / CASE).exists():
        return None
    fits: dict[str, dict[int, Fit]] = {}
    scores: dict[str, dict[int, Scores]] = {}
    for path in sorted((folder / name).glob("*/seed-*.safetensors")):
        fit = Fit.read(path)
        fits.setdefault(fit.arm, {})[fit.seed] = fit
        scores.setdefault(fit.arm, {})[fit.seed] = scores_of(path)
    about = json.loads((folder / name / CASE).read_text())
    return CaseResults(about, {arm: dict(sorted(some.items())) for arm, some in fits.items()}, scores)


def write_about(name: str, about: Mapping[str, Any], folder: Path = FOLDER) -> None:
    """Write `case.json`, or check that it says the same as before.

    Raises:
        ValueError: the case was fitted on other data, another backbone or other layers; its fits cannot be compared.
    """
    path = folder / name / CASE
    text = json.dumps(about, indent=1) + "\n"
    if path.exists() and json.loads(path.read_text()) != json.loads(text):
        before = json.loads(path.read_text())
        other = next(key for key in about if before.get(key) != json.loads(json.dumps(about[key])))
        raise ValueError(f"{path}: was written with another {other}; move the folder away to fit the whole case again")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
