"""What a task kind is: a label, a head, a loss and a metric. All that depends on the kind is asked of it.

Shape legend: B samples of a batch, N samples, F features, K outputs.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from dynaxx.data import LabelledImages
from dynaxx.tasks.choices import Choices
from dynaxx.tasks.information import bits_of_numbers
from dynaxx.tasks.linear import Examples, LinearFit, LinearOptions
from dynaxx.tasks.metric import Metric


class TaskError(ValueError):
    """The error for labels that a task cannot use; one line that names what is wrong."""


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise TaskError unless the option has one of these values."""
    if value not in allowed:
        raise TaskError(f"task.options.{name}={value!r}: give one of {', '.join(allowed)}")


class Kind(ABC):
    """One kind of task.

    Attributes:
        name: its name in `conf/task/`.
        labels: what its labels are, a kind of `LabelledImages`: classes, numbers or masks.
        readout: how heads read the taps, an option of `wrap_with_resonance`: the backbone's own way (`classifier`), by
            means and deviations (`moments`), or in every position (`map`).
        probe_readout: the same for linear readings of tapped layers.
        own_head: whether a backbone can have a head for the task already.
        labelled: whether training reads the labels. Without, training images are of one class, and what says how good
            a model is on held-out images is up to its arm.
        stride: pixels of the image for each position of the grid of messages on maps; None: the last tap's resolution.
    """

    name: ClassVar[str]
    labels: ClassVar[str]
    readout: ClassVar[str]
    probe_readout: ClassVar[str]
    own_head: ClassVar[bool] = False
    labelled: ClassVar[bool] = True
    stride: ClassVar[int | None] = None

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """The metric that decides."""

    @abstractmethod
    def check(self, data: LabelledImages) -> None:
        """Raise TaskError if the labels are not of this kind."""

    @abstractmethod
    def outputs(self, data: LabelledImages) -> int:
        """Number K of outputs of a head."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean training loss of a batch."""

    @abstractmethod
    def divergence(self, output: Tensor, target: Tensor) -> Tensor:
        """How far a batch of outputs is from another model's outputs, the loss of distillation; 0 where they agree."""

    @abstractmethod
    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        """One score per sample, float (N,), whose mean (or the root of it) is `metric`."""

    @abstractmethod
    def measures(self, output: Tensor, data: LabelledImages) -> dict[str, float]:
        """Other metrics of one model's outputs by name."""

    @abstractmethod
    def predictions(self, output: Tensor) -> Tensor:
        """What the model answers: class numbers, numbers, or masks."""

    @abstractmethod
    def fit_linear(self, train: Examples, val: Examples, options: LinearOptions) -> LinearFit:
        """A linear head on features, fitted to convergence and regularised on validation.

        Args:
            train: features and labels.
            val: the same of the validation samples.
            options: what the head is, and the penalties to choose from.
        """

    def fitted(self, labels: Tensor) -> "Kind":
        """The kind with what it has to know of the training labels."""
        del labels
        return self

    def judging(self, labels: Tensor) -> "Kind":
        """The kind whose scores of any part of these samples have the mean that `metric` has over all of them."""
        del labels
        return self

    def strata(self, labels: Tensor) -> Tensor | None:
        """Numbers (N,) whose proportions the parts of a draw keep; None if there are none to keep."""
        del labels
        return None

    def coded(self, labels: Tensor, outputs: int, grid: Sequence[int] = ()) -> Tensor | None:
        """The labels as numbers for least squares, float (N, K), or (N, P, K) of the P positions of a grid.

        None if the kind has no labels to train on; nothing can then be predicted of them.

        Args:
            labels: labels of N samples.
            outputs: K.
            grid: (h, w), for labels that are maps.
        """
        del labels, outputs, grid
        return None

    def coded_scores(self, predicted: Tensor, coded: Tensor) -> Tensor:
        """`scores` (N,) of least-squares predictions of `coded`."""
        return self.scores(predicted, coded)

    def bits(self, predicted: Tensor, coded: Tensor) -> float:
        """Bits that predictions of unseen samples tell about labels in the form of `coded`."""
        return bits_of_numbers(predicted, coded)

    def influence(self, scores: Tensor, target: Tensor) -> Tensor:
        """Scores (N,) with the same mean, whose scatter over samples gives the variance of the metric.

        They are the scores themselves where no sample changes the score of another.
        """
        del target
        return scores

    def priced(self, data: LabelledImages) -> tuple[str, ...]:
        """The classes whose errors may have prices, in the order of `choices`; empty if the kind has none."""
        del data
        return ()

    def choices(self, output: Tensor, data: LabelledImages) -> Choices | None:
        """The answers as choices between classes, for costs of errors; None if the kind has no classes."""
        del output, data
        return None

    def served(self, output: Tensor) -> Tensor:
        """What a deployed model answers: the outputs themselves, or the probabilities of classes where there are some.

        >>> Classification().served(torch.zeros(1, 4))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
        """
        return output

    def answers(self, output: Tensor) -> Tensor | None:
        """The class number of each sample's answer, int64 (N,); None if an answer is not one class."""
        del output
        return None

    def numbers(self, labels: Tensor) -> Tensor | None:
        """The labels as measured numbers (N, K), which outputs predict; None if they are none."""
        del labels
        return None

    def drawn(self, image: Tensor, answer: Tensor) -> Tensor | None:
        """A picture, uint8 (H, W, 3), of a label or of one of `predictions` on its image; None if there is none.

        Args:
            image: pixels, uint8 (C, H, W).
            answer: the label or the answer of this image.
        """
        del image, answer
        return None

    def value(self, output: Tensor, target: Tensor) -> float:
        """The metric of a model's outputs."""
        return self.metric.of(self.scores(output, target).cpu().numpy())
