"""Results of an evaluation as data: written by the stage `evaluate`, read by `report` and by tracking.

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
    """Accuracy and cost of one arm."""

    name: str
    accuracy_per_seed: list[float]
    macro_recall_per_seed: list[float]
    recall_per_class: dict[str, float]
    """Mean over seeds."""
    calibration_error_per_seed: list[float]
    """Expected calibration error, a fraction."""
    trained_parameters: int
    live_parameters: int
    """Number of trained parameters that the output depends on."""
    train_seconds: float
    """Mean over the seeds."""
    train_seconds_per_seed: list[float]
    gflops: float
    """Per sample, a multiply-add counted as two."""
    latency: Latency
    throughput_per_s: float
    peak_memory_mb: float
    """Peak memory of one forward pass, without weights and input."""


@dataclass(frozen=True)
class Corruption:
    """The arms on test images that were corrupted in one way, at strengths 1 to 5."""

    name: str
    accuracy: dict[str, list[float]]
    """Arm → accuracy per strength, mean over seeds."""
    explicit_minus: dict[str, Interval]
    """Rival → accuracy of `explicit` minus that of the rival, over all strengths, a fraction; paired."""


@dataclass(frozen=True)
class Decision:
    """The verdict, the recommended arm, and the reasons, one sentence each."""

    verdict: Verdict
    arm: str | None
    reasons: list[str]
    yearly_value: Interval | None = None
    """Yearly value of the avoided errors, in the currency of `value_per_error`; None without prices."""


@dataclass(frozen=True)
class TaskSummary:
    """The data of the evaluation."""

    data: str
    classes: list[str]
    n_train: int
    n_val: int
    n_test: int
    seeds: list[int]
    train_per_class: list[int]
    """Training images per class, in the order of `classes`, for the first seed."""


@dataclass(frozen=True)
class Evaluation:
    """All results of an evaluation: everything that the report shows."""

    # Nested dataclasses inherit it: a key too many, one missing, a wrong type or a NaN is an error.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    task: TaskSummary
    hardware: dict[str, Any]
    arms: list[ArmResult]
    comparisons: list[Comparison]
    class_gains: list[ClassGain]
    agreements: list[Agreement]
    corruptions: list[Corruption]
    """Empty if none were requested."""
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
