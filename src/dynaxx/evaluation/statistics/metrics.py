"""Recall per class of the predictions of one model. Other metrics are those of the task kind.

Shape legend: N images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.errors import EvaluationError


def per_class_recall(
    predictions: NDArray[np.integer], labels: NDArray[np.integer], classes: Sequence[str]
) -> dict[str, float]:
    """Recall of each class, in the order of `classes`; both arrays are (N,) of class indices.

    >>> per_class_recall(np.array([0, 0, 1]), np.array([0, 1, 1]), ["cat", "dog"])
    {'cat': 1.0, 'dog': 0.5}

    Raises:
        EvaluationError: a class has no image, so its recall is undefined, or an index has no class.
    """
    from sklearn.metrics import recall_score

    _check(predictions, labels)
    for name, array in (("predictions", predictions), ("labels", labels)):
        if array.min() < 0 or array.max() >= len(classes):
            raise EvaluationError(
                f"{name} has indices {array.min()} to {array.max()}; "
                f"{len(classes)} classes allow 0 to {len(classes) - 1}"
            )
    absent = sorted(set(range(len(classes))) - set(labels.tolist()))
    if absent:
        raise EvaluationError(f"labels has no image of {classes[absent[0]]!r} ({len(absent)} such); recall needs all")
    recalls = recall_score(labels, predictions, labels=range(len(classes)), average=None, zero_division=0)
    return dict(zip(classes, recalls.tolist(), strict=True))


def _check(predictions: Any, labels: Any) -> None:
    for name, array in (("predictions", predictions), ("labels", labels)):
        if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise EvaluationError(f"{name} is {kind}; give a NumPy array of class indices")
        if array.ndim != 1 or array.size == 0:
            raise EvaluationError(f"{name} has shape {array.shape}; give (images,) with at least one image")
    if predictions.shape != labels.shape:
        raise EvaluationError(f"predictions has shape {predictions.shape} and labels {labels.shape}; give the same")
