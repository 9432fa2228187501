"""Classification: a label is a class, the accuracy or the macro recall decides."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.data import LabelledImages
from dynaxx.tasks.choices import Choices
from dynaxx.tasks.information import bits_of_classes
from dynaxx.tasks.kind import Kind, TaskError, check_choice
from dynaxx.tasks.linear import Examples, LinearFit, LinearOptions, fit_logistic
from dynaxx.tasks.metric import Metric

DECIDING = ("accuracy", "macro_recall")


@dataclass(frozen=True)
class Classification(Kind):
    """One class per image, by cross-entropy.

    >>> kind = Classification()
    >>> kind.value(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    0.5

    Attributes:
        decides: `accuracy`, or `macro_recall`, in which rare classes count as much as others.
        label_smoothing: smoothing of the training loss.
        weights: factor of each class in the scores of macro recall; `judging` sets it.

    Raises:
        TaskError: another metric.
    """

    decides: str = "accuracy"
    label_smoothing: float = 0.0
    weights: tuple[float, ...] = ()

    name: ClassVar[str] = "classification"
    labels: ClassVar[str] = "classes"
    readout: ClassVar[str] = "moments"
    probe_readout: ClassVar[str] = "moments"
    own_head: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("decides", self.decides, DECIDING)
        smoothing = self.label_smoothing
        if not isinstance(smoothing, int | float) or isinstance(smoothing, bool) or not 0 <= smoothing < 1:
            raise TaskError(f"task.options.label_smoothing={smoothing!r}: give a number in [0, 1)")

    @property
    def metric(self) -> Metric:
        return Metric(self.decides)

    def check(self, data: LabelledImages) -> None:
        if data.kind != self.labels:
            raise TaskError("task=classification: the labels are no classes; give data of one class per image")

    def outputs(self, data: LabelledImages) -> int:
        return len(data.classes)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(output, target, label_smoothing=self.label_smoothing)

    def divergence(self, output: Tensor, target: Tensor) -> Tensor:
        """The Kullback-Leibler divergence of the classes' probabilities, the mean over samples."""
        return F.kl_div(output.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean")

    def judging(self, labels: Tensor) -> "Classification":
        """The kind with weights of macro recall that are those of all samples, not of a batch."""
        if self.decides == "accuracy":
            return self
        return dataclasses.replace(self, weights=tuple(self._weights(labels).tolist()))

    @staticmethod
    def _weights(target: Tensor) -> Tensor:
        """Factors (classes,) with which the mean of hits is the mean of the recalls of the classes that occur."""
        counts = target.bincount().double()
        return torch.where(counts > 0, len(target) / (counts.clamp_min(1) * int((counts > 0).sum())), 0.0)

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        """1 for a correct answer and 0 otherwise; for macro recall, weighted so that every class counts alike."""
        correct = (output.argmax(1) == target).double()
        if self.decides == "accuracy":
            return correct
        weights = correct.new_tensor(self.weights) if self.weights else self._weights(target)
        return correct * weights[target]

    def influence(self, scores: Tensor, target: Tensor) -> Tensor:
        """For macro recall, each score's distance from the mean of its class, around the macro recall.

        The classes' sizes are drawn, too, but the recall of a class does not depend on its size.
        """
        if self.decides == "accuracy":
            return scores
        sums = torch.zeros(int(target.max()) + 1, dtype=scores.dtype).index_add(0, target, scores)
        return scores - (sums / target.bincount().clamp_min(1))[target] + scores.mean()

    def measures(self, output: Tensor, data: LabelledImages) -> dict[str, float]:
        """Accuracy, macro recall, and the expected calibration error (Guo et al. 2017) over 15 bins."""
        from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_recall

        classes, y = output.shape[1], data.labels
        found = {
            "accuracy": (output.argmax(1) == y).double().mean(),
            "macro_recall": multiclass_recall(output.argmax(1), y, classes, average="macro"),
            "calibration_error": multiclass_calibration_error(output.softmax(1), y, classes, n_bins=15, norm="l1"),
        }
        return {name: float(value) for name, value in found.items()}

    def predictions(self, output: Tensor) -> Tensor:
        return output.argmax(1)

    def served(self, output: Tensor) -> Tensor:
        """The probability of each class, (N, classes)."""
        return output.softmax(1)

    def answers(self, output: Tensor) -> Tensor:
        return output.argmax(1)

    def priced(self, data: LabelledImages) -> tuple[str, ...]:
        return data.classes

    def choices(self, output: Tensor, data: LabelledImages) -> Choices:
        """One choice per image."""
        return Choices(output.double().log_softmax(1), data.labels, data.classes, len(output))

    def coded(self, labels: Tensor, outputs: int, grid: Sequence[int] = ()) -> Tensor:
        """One column per class, 1 in that of the label."""
        del grid
        return F.one_hot(labels, outputs).float()

    def coded_scores(self, predicted: Tensor, coded: Tensor) -> Tensor:
        return self.scores(predicted, coded.argmax(1))

    def bits(self, predicted: Tensor, coded: Tensor) -> float:
        return bits_of_classes(predicted, coded)

    def strata(self, labels: Tensor) -> Tensor:
        return labels

    def fit_linear(self, train: Examples, val: Examples, options: LinearOptions) -> LinearFit:
        return fit_logistic(train, val, classes=options.outputs, penalties=options.penalties)
