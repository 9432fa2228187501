"""Recall per class against counting by hand, and the measures of a classifier."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from dynaxx.data import LabelledImages
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.statistics.metrics import per_class_recall
from dynaxx.tasks import Classification

CLASSES = ("ant", "bee", "<cat>", "dog")


def classified(
    predictions: list[int], labels: list[int], certainty: float = 0.9
) -> tuple[torch.Tensor, LabelledImages]:
    """Log-probabilities that give a prediction this certainty, and the images that they are for."""
    rest = (1 - certainty) / (len(CLASSES) - 1)
    logits = torch.full((len(labels), len(CLASSES)), rest)
    logits[torch.arange(len(labels)), torch.tensor(predictions)] = certainty
    pixels = torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8)
    return logits.log(), LabelledImages(pixels, torch.tensor(labels), CLASSES)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60))
@settings(max_examples=40, deadline=None)
def test_recall_and_measures_by_counting(pairs: list[tuple[int, int]]) -> None:
    pairs = [*pairs, (0, 0), (1, 1), (0, 2), (3, 3)]  # every class has an image
    predictions, labels = (np.array(column) for column in zip(*pairs, strict=True))
    expected = {
        name: sum(p == y for p, y in pairs if y == index) / sum(y == index for _, y in pairs)
        for index, name in enumerate(CLASSES)
    }
    assert per_class_recall(predictions, labels, CLASSES) == pytest.approx(expected)
    assert list(per_class_recall(predictions, labels, CLASSES)) == list(CLASSES)
    output, data = classified(predictions.tolist(), labels.tolist())
    right = sum(p == y for p, y in pairs) / len(pairs)
    measures = Classification().measures(output, data)
    assert measures["accuracy"] == pytest.approx(right)
    assert measures["macro_recall"] == pytest.approx(sum(expected.values()) / 4)
    assert measures["calibration_error"] == pytest.approx(abs(right - 0.9), abs=1e-5)


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_influence_on_a_macro_recall_keeps_its_mean_and_knows_no_class_sizes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = [0, 1, 2, 3, *generator.choice(4, 80, p=[0.7, 0.2, 0.05, 0.05]).tolist()]
    output, data = classified(generator.integers(0, 4, 84).tolist(), labels)
    kind = Classification("macro_recall")
    scores = kind.scores(output, data.labels)
    influence = kind.influence(scores, data.labels)
    assert float(influence.mean()) == pytest.approx(float(scores.mean()))
    # Σ over classes of (recall's variance / images) / classes², which is what drawing images within classes gives
    recalls = [(output.argmax(1) == data.labels)[data.labels == c].double() for c in range(4)]
    variance = sum(float(r.var(correction=0)) / len(r) for r in recalls) / 16
    assert float((influence - influence.mean()).square().sum()) / 84**2 == pytest.approx(variance)


@pytest.mark.parametrize(
    ("predictions", "labels", "word"),
    [
        (np.array([0, 1]), np.array([0, 0]), "no image of 'b'"),
        (np.array([0, 2]), np.array([0, 1]), "predictions has indices 0 to 2"),
        (np.array([0, -1]), np.array([0, 1]), "predictions has indices -1"),
        (np.array([0.0, np.nan]), np.array([0, 1]), "predictions is float64"),
        (np.array([0]), np.array([0, 1]), "shape"),
        (np.array([], dtype=int), np.array([], dtype=int), "at least one image"),
    ],
)
def test_what_recall_refuses(predictions: np.ndarray, labels: np.ndarray, word: str) -> None:
    with pytest.raises(EvaluationError, match=word):
        per_class_recall(predictions, labels, ["a", "b"])
