"""Results of an evaluation as dataclasses, which one JSON file holds.

The DVC stage `evaluate` writes the file. The stage `report` and the experiment tracking read it.
Fractions are in [0, 1]. Times are in the unit with which the name of the field ends.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from dynaxx.evaluation.cost.latency import Latency, Timing
from dynaxx.evaluation.costs import COST, ArmCosts
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.inside.look import Inside
from dynaxx.evaluation.records import first_fault
from dynaxx.evaluation.shown import Shown
from dynaxx.evaluation.statistics.comparisons import Agreement, ClassGain, Comparison
from dynaxx.evaluation.statistics.paired import Interval
from dynaxx.files import write_text
from dynaxx.tasks import Metric

Verdict = Literal["adopt", "keep_probe"]


@dataclass(frozen=True)
class ArmResult:
    """Quality on the test samples and cost of one arm, a competitor of the comparison."""

    name: str
    value_per_seed: list[float]
    """The task's metric (`TaskSummary.metric`) on the test samples."""
    val_score_per_seed: list[float]
    """The metric on the validation samples, with the sign with which more is better."""
    measures_per_seed: dict[str, list[float]]
    """Other metrics of the test samples by name."""
    recall_per_class: dict[str, float]
    """Class → fraction of its test samples that are recognised, mean over seeds; empty if answers are no classes."""
    trained_parameters: int
    live_parameters: int
    """Number of trained parameters that can change the output."""
    train_seconds: float
    """Training time in seconds, mean over seeds."""
    train_seconds_per_seed: list[float]
    gflops: float
    """10⁹ floating-point operations per sample; one multiply-add counts as two operations."""
    latency: Latency
    throughput_per_s: float
    peak_memory_mb: float
    """Peak memory in MB of one forward pass, without the weights and the input."""
    costs: ArmCosts | None = None
    """What the errors cost; None if no prices are given."""

    @property
    def mean(self) -> float:
        """The metric, mean over seeds."""
        return sum(self.value_per_seed) / len(self.value_per_seed)


@dataclass(frozen=True)
class Corruption:
    """The metric of the arms on test images with one type of corruption, at strengths 1 to 5."""

    name: str
    values: dict[str, list[float]]
    """Arm → metric at each strength, mean over seeds."""
    explicit_gain: dict[str, Interval]
    """Rival arm → gain of `explicit` over the rival, over all strengths, with a paired interval."""


@dataclass(frozen=True)
class Answer:
    """One question of the decision, its answer in a word or two, and the reasons, one sentence each."""

    question: str
    answer: str
    reasons: list[str]


@dataclass(frozen=True)
class Decision:
    """The verdict, the arm to deploy, and the questions that lead there."""

    verdict: Verdict
    arm: str
    """The arm to deploy: a reading, or the probe."""
    best: str
    """The reading that is best on validation."""
    answers: list[Answer]
    """One or two; the second question is asked if the first is answered with yes."""
    beside: list[str] = field(default_factory=list)
    """What rivals would give, a sentence each."""
    yearly_value: Interval | None = None
    """What the avoided errors are worth a year, in the currency of `evaluate.costs`; None if none are given."""

    @property
    def reasons(self) -> list[str]:
        """All that the decision says, in order, one sentence or two each."""
        told = []
        for answer in self.answers:
            told += [f"{answer.question} {answer.answer}", *answer.reasons]
        return told + self.beside


@dataclass(frozen=True)
class TaskSummary:
    """The task of the evaluation: its data, kind, metric, classes, numbers of samples per split, and the seeds."""

    data: str
    kind: str
    """Name of the task kind, such as `classification`."""
    metric: Metric
    """The metric that decides."""
    classes: list[str]
    """Empty if labels are numbers."""
    n_train: int
    n_val: int
    n_test: int
    seeds: list[int]
    train_per_class: list[int] = field(default_factory=list)
    """Number of training images of each class, in the order of `classes`, for the first seed."""
    groups: int = 0
    """Number of groups of test images that are resampled together; 0 if images stand alone."""
    remarks: list[str] = field(default_factory=list)
    """What should be known about the data, such as test images that are training images too."""


@dataclass(frozen=True)
class Evaluation:
    """All results of an evaluation on test images."""

    # Nested dataclasses inherit it: a key too many, one missing, a wrong type or a NaN is an error.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    task: TaskSummary
    hardware: dict[str, Any]
    timings: dict[str, Timing]
    """How `latency` and `throughput` were timed."""
    arms: list[ArmResult]
    comparisons: list[Comparison]
    """In the task's metric."""
    cost_comparisons: list[Comparison]
    """In the cost of errors, which then decides; empty if no prices are given."""
    class_gains: list[ClassGain]
    agreements: list[Agreement]
    corruptions: list[Corruption]
    """Empty if none were requested."""
    shown: Shown
    inside: Inside
    decision: Decision

    @property
    def deciding(self) -> tuple[list[Comparison], Metric]:
        """The comparisons on which the decision rests, and their metric: costs of errors where they have prices."""
        return (self.cost_comparisons, COST) if self.cost_comparisons else (self.comparisons, self.task.metric)

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
