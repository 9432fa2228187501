"""Accuracy and recall against counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.statistics.metrics import accuracy, calibration_error, macro_recall, per_class_recall


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_metrics_by_counting(pairs: list[tuple[int, int]]) -> None:
    pairs = [*pairs, (0, 0), (1, 1), (0, 2), (3, 3)]  # every class has an image
    predictions, labels = (np.array(column) for column in zip(*pairs, strict=True))
    classes = ["ant", "bee", "<cat>", "dog"]
    expected = {
        name: sum(p == y for p, y in pairs if y == index) / sum(y == index for _, y in pairs)
        for index, name in enumerate(classes)
    }
    assert per_class_recall(predictions, labels, classes) == pytest.approx(expected)
    assert list(per_class_recall(predictions, labels, classes)) == classes
    assert macro_recall(predictions, labels, classes) == pytest.approx(sum(expected.values()) / 4)
    assert accuracy(predictions, labels) == pytest.approx(sum(p == y for p, y in pairs) / len(pairs))


def test_a_rare_class_counts_as_much_as_a_common_one() -> None:
    labels = np.array([0] * 9 + [1])
    predictions = np.zeros(10, dtype=np.int64)
    assert accuracy(predictions, labels) == pytest.approx(0.9)
    assert macro_recall(predictions, labels, ["common", "rare"]) == pytest.approx(0.5)


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


def test_calibration_error_by_hand():
    confident = np.array([[0.9, 0.1]] * 10)
    assert calibration_error(confident, np.array([0] * 9 + [1])) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(confident, np.array([0] * 4 + [1] * 6)) == pytest.approx(0.5, abs=1e-6)
