"""How good outputs are, measured by the task's own metric: found from outputs and labels, named, or the user's."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dynaxx.errors import ResonanceError

IGNORED = -100
"""Label of what is not judged, as in torch's cross-entropy."""

WHAT_WOULD_DO = (
    "give metric=, one of 'accuracy', 'cross_entropy', 'mean_squared_error', 'mean_absolute_error', a metric of "
    "torchmetrics, or a function of outputs and labels"
)


class Score(Protocol):
    """A running score over batches, as every metric of torchmetrics is one."""

    def update(self, output: Any, labels: Any, /) -> Any: ...
    def compute(self) -> Any: ...


@dataclass(frozen=True)
class Metric:
    """A metric by name and direction; `start` makes a running score that has seen nothing.

    Attributes:
        named: whether it is one of `NAMED`, and not the user's own.
    """

    name: str
    higher_is_better: bool
    start: Callable[[], Score]
    named: bool

    def update(self, score: Score, output: Any, labels: Any) -> None:
        """Let a running score see one batch; a metric that is a module is moved to the outputs' device."""
        if isinstance(score, nn.Module) and isinstance(output, Tensor):
            score.to(output.device)
        try:
            score.update(output, labels)
        except ResonanceError:
            raise
        except Exception as error:
            line = " ".join(str(error).split())[:200]
            raise ResonanceError(
                f"metric: {self.name} does not take outputs {_kind(output)} and labels {_kind(labels)} "
                f"({type(error).__name__}: {line}); give labels as it takes them, or another metric"
            ) from error

    def worse(self, one: float, other: float) -> bool:
        """Whether the score `one` is worse than `other`; one that is no number (NaN) is the worst."""
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and not math.isnan(other)
        return one < other if self.higher_is_better else one > other


class _Mean:
    """The mean of a function that gives a sum and a count per batch."""

    def __init__(self, function: Callable[[Any, Any], tuple[Any, int]]) -> None:
        self.function, self.total, self.count = function, 0.0, 0

    def update(self, output: Any, labels: Any, /) -> None:
        total, count = self.function(output, labels)
        self.total, self.count = self.total + float(total), self.count + count

    def compute(self) -> float:
        if not self.count:
            raise ResonanceError(f"labels: all of them are {IGNORED}, so nothing is judged; give some others")
        return self.total / self.count


def as_metric(metric: Any, higher_is_better: bool | None) -> Metric:
    """The `Metric` that the argument `metric` of `calibrate` means.

    >>> as_metric(None, None).name
    'accuracy'
    >>> as_metric(nn.functional.l1_loss, higher_is_better=False).worse(0.3, 0.2)
    True

    Raises:
        ResonanceError: an unknown name, an object that is no metric, or a direction that is not known or is wrong.
    """
    if higher_is_better is not None and not isinstance(higher_is_better, bool):
        raise ResonanceError(f"higher_is_better={higher_is_better!r}: give True, False or None")
    higher: Any
    if metric is None or isinstance(metric, str):
        name = "accuracy" if metric is None else metric
        if name not in NAMED:
            raise ResonanceError(f"metric={metric!r}: no metric of that name; {WHAT_WOULD_DO}")
        function, higher = NAMED[name]
        start: Callable[[], Score] = lambda: _Mean(function)  # noqa: E731
    else:
        name = getattr(metric, "__name__", type(metric).__name__)
        stated = getattr(metric, "higher_is_better", None)
        higher = higher_is_better if stated is None else stated
        if isinstance(metric, type):
            raise ResonanceError(f"metric: the class {name} is given; give an object of it, {name}(...)")
        if callable(getattr(metric, "update", None)) and callable(getattr(metric, "compute", None)):
            start = lambda: _fresh(metric)  # noqa: E731
        elif callable(metric):
            start = lambda: _Mean(lambda output, labels: _of_batch(name, metric, output, labels))  # noqa: E731
        else:
            raise ResonanceError(f"metric={metric!r}: no metric; {WHAT_WOULD_DO}")
        if not isinstance(higher, bool):
            raise ResonanceError(f"metric: is more {name} better? give higher_is_better=True or False")
    if higher_is_better not in (None, higher):
        raise ResonanceError(f"higher_is_better={higher_is_better}: of {name} {'more' if higher else 'less'} is better")
    return Metric(name, higher, start, metric is None or isinstance(metric, str))


def value_of(name: str, value: Any) -> float:
    """The value of a metric as a number.

    >>> value_of("accuracy", torch.tensor([0.5]))
    0.5

    Raises:
        ResonanceError: a value that is not one number.
    """
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value.item())
    if isinstance(value, Real):
        return float(value)
    got = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise ResonanceError(f"metric: {name} gave {got}; give a metric whose value is one number")


def prediction_of(output: Any) -> Any:
    """The prediction in a model's output: its logits, if it is a Hugging Face output or a dict; else the output itself.

    >>> prediction_of({"loss": None, "logits": torch.zeros(2, 3)}).shape
    torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "out"):  # "out" in torchvision's segmentation models
        value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    tensors = [value for value in output.values() if isinstance(value, Tensor)] if isinstance(output, Mapping) else []
    return tensors[0] if len(tensors) == 1 else output


def classes_and_labels(output: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """The scores with their classes in the last axis, and a label for each, where output and labels leave no doubt.

    >>> scores, labels = classes_and_labels(torch.zeros(2, 5, 8, 8), torch.ones(2, 8, 8, dtype=torch.long))
    >>> scores.shape, labels.shape
    (torch.Size([2, 8, 8, 5]), torch.Size([2, 8, 8]))

    Classes are in axis 1 of (B, classes) and of maps (B, classes, H, W), and in the last axis of tokens (B, N,
    classes). Labels may have an axis of length 1 for the classes, or be one-hot.

    Raises:
        ResonanceError: anything else; the message names `metric=`.
    """
    if not isinstance(output, Tensor) or not isinstance(labels, Tensor):
        raise _unclear(output, labels, "no tensors of scores and labels")
    axes = [1] if output.ndim == 2 else [1, output.ndim - 1]
    axes = [axis for axis in axes if 1 <= axis < output.ndim and output.shape[axis] > 1]
    if labels.shape == output.shape:
        axes = [axis for axis in axes if _one_hot(labels, axis)]
        if len(axes) != 1:
            raise _unclear(output, labels, "labels of the output's shape are no classes, one-hot")
        return output.movedim(axes[0], -1), labels.long().argmax(axes[0])
    if labels.is_floating_point() or labels.is_complex():
        raise _unclear(output, labels, "these labels are no numbers of classes")
    fitting = [axis for axis in axes if _squeezed(labels, axis, output.ndim).shape == _shape_without(output, axis)]
    if output.ndim > 3 and 1 in fitting:
        fitting = [1]  # torch's convention for maps; (B, H, W, classes) only where nothing else fits
    if len(fitting) != 1:
        raise _unclear(output, labels, "their shapes do not fit" if not fitting else "the classes may be axis 1 or 2")
    (axis,) = fitting
    labels, classes = _squeezed(labels, axis, output.ndim).long(), output.shape[axis]
    judged = labels[labels != IGNORED]
    if judged.numel() and not 0 <= int(judged.min()) <= int(judged.max()) < classes:
        raise ResonanceError(
            f"labels: they go from {int(judged.min())} to {int(judged.max())}, the output has {classes} classes; give "
            f"labels from 0 to {classes - 1} ({IGNORED} where nothing is judged), or metric="
        )
    return output.movedim(axis, -1), labels


def next_tokens(scores: Any, labels: Any, inputs: Any) -> tuple[Any, Any]:
    """Scores and labels of a causal language model, aligned: labels that repeat the inputs are judged one later.

    >>> ids = torch.tensor([[1, 2, 3]])
    >>> next_tokens(torch.zeros(1, 3, 9), ids, ids)[1]
    tensor([[2, 3]])
    """
    tensors = all(isinstance(value, Tensor) for value in (scores, labels, inputs))
    if not tensors or scores.ndim != 3 or labels.ndim != 2 or labels.shape != inputs.shape:
        return scores, labels
    judged = labels != IGNORED
    repeated = bool(judged.any()) and torch.equal(labels[judged], inputs[judged].to(labels.dtype))
    return (scores[:, :-1], labels[:, 1:]) if repeated else (scores, labels)


def _squeezed(labels: Tensor, axis: int, ndim: int) -> Tensor:
    return labels.squeeze(axis) if labels.ndim == ndim and labels.shape[axis] == 1 else labels


def _shape_without(output: Tensor, axis: int) -> torch.Size:
    return output.shape[:axis] + output.shape[axis + 1 :]


def _one_hot(labels: Tensor, axis: int) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis) == 1).all())


def _unclear(output: Any, labels: Any, why: str) -> ResonanceError:
    return ResonanceError(f"labels: {_kind(labels)} beside outputs {_kind(output)}: {why}; {WHAT_WOULD_DO}")


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"


def _accuracy(output: Any, labels: Any) -> tuple[Tensor, int]:
    scores, labels = classes_and_labels(output, labels)
    judged = labels != IGNORED
    return ((scores.argmax(-1) == labels) & judged).sum(), int(judged.sum())


def _cross_entropy(output: Any, labels: Any) -> tuple[Tensor, int]:
    scores, labels = classes_and_labels(output, labels)
    scores, labels = scores.flatten(0, -2).float(), labels.flatten()
    return F.cross_entropy(scores, labels, ignore_index=IGNORED, reduction="sum"), int((labels != IGNORED).sum())


def _error(power: int) -> Callable[[Any, Any], tuple[Tensor, int]]:
    def error(output: Any, labels: Any) -> tuple[Tensor, int]:
        sizes = [[n for n in x.shape if n != 1] if isinstance(x, Tensor) else None for x in (output, labels)]
        if sizes[0] is None or sizes[0] != sizes[1]:
            raise _unclear(output, labels, "one number is needed for each output")
        difference = output.float() - labels.reshape(output.shape).float()  # (B, 1) beside (B) would be broadcast
        return difference.abs().pow(power).sum(), difference.numel()

    return error


NAMED: dict[str, tuple[Callable[[Any, Any], tuple[Any, int]], bool]] = {
    "accuracy": (_accuracy, True),
    "cross_entropy": (_cross_entropy, False),
    "mean_squared_error": (_error(2), False),
    "mean_absolute_error": (_error(1), False),
}
"""Name → (sum and count per batch, whether more is better)."""


def _of_batch(name: str, function: Callable[[Any, Any], Any], output: Any, labels: Any) -> tuple[float, int]:
    """The value of a function for one batch, weighted by the batch's samples."""
    sizes = [len(leaf) for leaf in tree_leaves(labels) if isinstance(leaf, Tensor) and leaf.ndim]
    samples = sizes[0] if sizes else len(labels) if isinstance(labels, Sequence) else 1
    return value_of(name, function(output, labels)) * samples, samples


def _fresh(metric: Any) -> Score:
    """A copy that has seen nothing; the user's own metric keeps what it has seen."""
    fresh: Any = copy.deepcopy(metric)
    if callable(getattr(fresh, "reset", None)):
        fresh.reset()
    return fresh
