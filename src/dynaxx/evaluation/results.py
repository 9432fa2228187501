"""Results of an evaluation as dataclasses, which one JSON file holds.

The DVC stage `evaluate` writes the file. The stage `report` and the experiment tracking read it.
Fractions are in [0, 1]. Times are in the unit with which the name of the field ends.
"""

from dataclasses import dataclass, field
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
    """Test accuracy and cost of one arm, a competitor of the comparison."""

    name: str
    accuracy_per_seed: list[float]
    macro_recall_per_seed: list[float]
    recall_per_class: dict[str, float]
    """Class → fraction of its test images that are recognised, mean over seeds."""
    calibration_error_per_seed: list[float]
    """Expected calibration error on the test images, a fraction."""
    trained_parameters: int
    live_parameters: int
    """Number of trained parameters that can change the output."""
    train_seconds: float
    """Training time in seconds, mean over seeds."""
    train_seconds_per_seed: list[float]
    gflops: float
    """10⁹ floating-point operations per image; one multiply-add counts as two operations."""
    latency: Latency
    throughput_per_s: float
    peak_memory_mb: float
    """Peak memory in MB of one forward pass, without the weights and the input."""


@dataclass(frozen=True)
class Corruption:
    """Accuracy of the arms on test images with one type of corruption, at strengths 1 to 5."""

    name: str
    accuracy: dict[str, list[float]]
    """Arm → accuracy at each strength, mean over seeds."""
    explicit_minus: dict[str, Interval]
    """Rival arm → accuracy of `explicit` minus accuracy of the rival, over all strengths, with a paired interval."""


@dataclass(frozen=True)
class Decision:
    """The verdict, the recommended arm (None if no arm is recommended), and the reasons, one sentence each."""

    verdict: Verdict
    arm: str | None
    reasons: list[str]
    yearly_value: Interval | None = None
    """Yearly value of the avoided errors, in the currency of `Prices.value_per_error`; None if no prices are given."""


@dataclass(frozen=True)
class TaskSummary:
    """The data set of the evaluation: its name, classes, numbers of images per split, and the seeds."""

    data: str
    classes: list[str]
    n_train: int
    n_val: int
    n_test: int
    seeds: list[int]
    train_per_class: list[int]
    """Number of training images of each class, in the order of `classes`, for the first seed."""
    remarks: list[str] = field(default_factory=list)
    """What should be known about the data, such as test images that are training images too."""


@dataclass(frozen=True)
class Evaluation:
    """All results of an evaluation on test images."""

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
        """Write the results to the JSON file `path`, completely or not at all.

        Example: `evaluation.to_json(Path("evaluation.json"))`.

        Raises:
            EvaluationError: the results hold a value that `from_json` would refuse, such as NaN.
        """
        text = TypeAdapter(Evaluation).dump_json(self, indent=2).decode()
        _parse(text, "Evaluation")
        write_text(path, text + "\n")

    @classmethod
    def from_json(cls, path: Path) -> "Evaluation":
        """Read the results from a JSON file that `to_json` wrote.

        Example: `Evaluation.from_json(Path("evaluation.json")).decision.verdict`.

        Raises:
            EvaluationError: the file cannot be read, or a key is wrong; the message names the first wrong key.
        """
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
