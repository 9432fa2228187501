"""What an evaluation found, as data: written by the stage `evaluate`, read by `report` and by tracking.

Fractions are in [0, 1]; times in the unit that the name ends with.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dynaxx.evaluation.cost.latency import Latency
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.inside.look import Inside
from dynaxx.evaluation.records import first_fault
from dynaxx.evaluation.statistics.comparisons import Agreement, ClassGain, Comparison
from dynaxx.evaluation.statistics.paired import Interval
from dynaxx.files import write_text

Verdict = Literal["adopt_explicit", "adopt_implicit", "adopt_cheaper", "do_not_adopt"]


@dataclass(frozen=True)
class ArmResult:
    """One competitor: how well it answers the test images and what it costs."""

    name: str
    accuracy_per_seed: list[float]
    macro_recall_per_seed: list[float]
    recall_per_class: dict[str, float]
    """Mean over seeds."""
    calibration_error_per_seed: list[float]
    """Expected distance of confidence from accuracy, a fraction."""
    trained_parameters: int
    live_parameters: int
    """Those of the trained parameters that can change the output."""
    train_seconds: float
    """Mean over the seeds."""
    train_seconds_per_seed: list[float]
    gflops: float
    """Per sample, a multiply-add counted as two."""
    latency: Latency
    throughput_per_s: float
    peak_memory_mb: float
    """Held by one forward pass beside weights and input."""


@dataclass(frozen=True)
class Corruption:
    """The arms on test images that were corrupted in one way, at strengths 1 to 5."""

    name: str
    accuracy: dict[str, list[float]]
    """By arm: one a strength, mean over seeds."""
    explicit_minus: dict[str, Interval]
    """By rival: explicit's accuracy minus the rival's over all strengths, a fraction; paired."""


@dataclass(frozen=True)
class Decision:
    """What to do, which arm to do it with, and why, one plain sentence a reason."""

    verdict: Verdict
    arm: str | None
    reasons: list[str]
    yearly_value: Interval | None = None
    """Of the errors that the arm avoids, in the currency of `value_per_error`; None where no price was given."""


@dataclass(frozen=True)
class TaskSummary:
    """The data that every arm was judged on."""

    data: str
    classes: list[str]
    n_train: int
    n_val: int
    n_test: int
    seeds: list[int]
    train_per_class: list[int]
    """Images to train on of each of `classes`, of the first seed."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that the report needs to say what was found."""

    # Nested dataclasses inherit it: a key too many, one missing, a wrong type or a NaN is an error.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    task: TaskSummary
    hardware: dict[str, Any]
    arms: list[ArmResult]
    comparisons: list[Comparison]
    class_gains: list[ClassGain]
    agreements: list[Agreement]
    corruptions: list[Corruption]
    """Empty where none were asked for."""
    inside: Inside
    decision: Decision

    def to_json(self, path: Path) -> None:
        """Write to `path`, whole or not at all. Raises `EvaluationError` for what `from_json` refuses."""
        text = TypeAdapter(Evaluation).dump_json(self, indent=2).decode()
        _parse(text, "Evaluation")
        write_text(path, text + "\n")

    @classmethod
    def from_json(cls, path: Path) -> "Evaluation":
        """Read what `to_json` wrote. Raises `EvaluationError` naming the first key that is wrong."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EvaluationError(f"{path}: not a readable evaluation: {error}") from error
        return _parse(text, str(path))


def _parse(text: str, source: str) -> Evaluation:
    try:
        return TypeAdapter(Evaluation).validate_json(text)
    except ValidationError as error:
        raise EvaluationError(f"{source}: {first_fault(error)}") from error
