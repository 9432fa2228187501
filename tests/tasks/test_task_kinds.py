"""Task kinds: their scores have the metric as mean, their metrics are torchmetrics', their losses know no unit."""

import pytest
import torch
from hypothesis import given, strategies as st
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_recall
from torchmetrics.functional.regression import mean_squared_error

from dynaxx.data import LabelledImages
from dynaxx.tasks import KINDS, Classification, PromptedSegmentation, Regression, Segmentation, TaskError, kind_of

PIXELS = torch.zeros(4, 1, 6, 6, dtype=torch.uint8)
CLASSES = LabelledImages(PIXELS, torch.tensor([0, 1, 0, 1]), ("cat", "dog"))
NUMBERS = LabelledImages(PIXELS, torch.tensor([[1.0], [2.0], [4.0], [9.0]]), ("size",))
MASKS = LabelledImages(PIXELS, torch.zeros(4, 6, 6, dtype=torch.uint8), ("background", "polyp"))
CLICKED = LabelledImages(PIXELS, MASKS.labels, MASKS.classes, sources={"click": PIXELS})
DEFECTS = LabelledImages(PIXELS, CLASSES.labels, ("good", "crack"))
DATA = {
    "classification": CLASSES,
    "regression": NUMBERS,
    "segmentation": MASKS,
    "prompted_segmentation": CLICKED,
    "anomaly": DEFECTS,
}
TAKEN_TOO = {("segmentation", "prompted_segmentation"), ("classification", "anomaly")}
"""Kinds that take the labels of another kind as well."""


@given(classes=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_scores_of_classes_have_the_metric_as_mean(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(30, classes, generator=generator)
    y = torch.cat([torch.arange(classes), torch.randint(classes, (30 - classes,), generator=generator)])
    accuracy = multiclass_accuracy(output, y, classes, average="micro")
    recall = multiclass_recall(output, y, classes, average="macro")
    assert Classification().value(output, y) == pytest.approx(float(accuracy), abs=1e-6)
    assert Classification("macro_recall").value(output, y) == pytest.approx(float(recall), abs=1e-6)


@given(columns=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_scores_of_numbers_have_the_squared_error_as_mean(columns, seed):
    generator = torch.Generator().manual_seed(seed)
    output, y = (torch.randn(20, columns, generator=generator) for _ in range(2))
    assert Regression().value(output, y) == pytest.approx(float(mean_squared_error(output, y) ** 0.5), rel=1e-4)


@given(outputs=st.sampled_from([1, 3]), empty=st.booleans(), seed=st.integers(0, 10**6))
def test_scores_of_masks_are_the_overlaps_of_each_image(outputs, empty, seed):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(3, outputs, 4, 4, generator=generator)
    truth = torch.randint(0, max(2, outputs), (3, 4, 4), generator=generator).to(torch.uint8)
    if empty:
        truth[0], output[0] = 0, -5.0
        output[0, 0] = -5.0 if outputs == 1 else 5.0
    found = Segmentation().predictions(output)
    for decides in ("iou", "dice"):
        expected = []
        for image, mask in zip(found.tolist(), truth.tolist(), strict=True):
            pixels = [(a, b) for row, other in zip(image, mask, strict=True) for a, b in zip(row, other, strict=True)]
            overlaps = []
            for number in range(1, max(2, outputs)):
                both = sum(a == b == number for a, b in pixels)
                either = sum(number in pair for pair in pixels)
                if either:
                    overlaps.append(both / either if decides == "iou" else 2 * both / (both + either))
            expected.append(sum(overlaps) / len(overlaps) if overlaps else 1.0)
        scores = Segmentation(decides).scores(output, truth)
        assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64))


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 10**6))
def test_the_loss_of_a_regression_does_not_depend_on_the_unit(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    y, output = (torch.randn(20, 2, generator=generator) for _ in range(2))
    plain, scaled = (
        Regression().fitted(y).loss(output, y),
        Regression().fitted(scale * y).loss(scale * output, scale * y),
    )
    assert torch.allclose(plain, scaled, rtol=1e-3)
    assert plain == pytest.approx(float(((output - y) / y.std(0, correction=0)).square().mean()), rel=1e-4)


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_loss_of_masks_falls_where_the_answer_is_right(outputs):
    truth = torch.tensor([[[0, 1], [1, outputs // 2]]], dtype=torch.uint8)
    right = 9.0 * (2 * torch.nn.functional.one_hot(truth.long(), 3).movedim(-1, 1).float() - 1)
    right = right[:, 1:2] if outputs == 1 else right
    kind = Segmentation()
    assert kind.loss(right, truth) < 0.05 < kind.loss(torch.zeros_like(right), truth) < kind.loss(-right, truth)


@given(outputs=st.sampled_from([1, 3]), seed=st.integers(0, 10**6))
def test_the_loss_of_masks_is_cross_entropy_plus_what_lacks_of_the_overlap(outputs, seed):
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(2, outputs, 3, 3, generator=generator)
    truth = torch.randint(0, max(2, outputs), (2, 3, 3), generator=generator).to(torch.uint8)
    logits = torch.cat([torch.zeros_like(output), output], 1) if outputs == 1 else output
    p = logits.softmax(1)
    entropy = -torch.stack(
        [p[n, int(truth[n, i, j]), i, j].log() for n in range(2) for i in range(3) for j in range(3)]
    )
    overlaps = []
    for n in range(2):
        for number in range(1, logits.shape[1]):
            found, there = p[n, number], (truth[n] == number).float()
            overlaps.append((2 * (found * there).sum() + 1) / (found.sum() + there.sum() + 1))
    expected = entropy.mean() + 1 - torch.stack(overlaps).mean()
    assert torch.allclose(Segmentation().loss(output, truth), expected, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_takes_its_own_labels_and_refuses_others_in_one_line(name):
    kind = kind_of(name)
    for other, data in DATA.items():
        if other == name or (name, other) in TAKEN_TOO:
            kind.check(data)
        else:
            with pytest.raises(TaskError, match=f"task={name}: "):
                kind.check(data)


def test_outputs_are_as_many_as_the_labels_need():
    assert [kind_of(name).outputs(data) for name, data in DATA.items()] == [2, 1, 1, 1, 1]
    three = LabelledImages(PIXELS, MASKS.labels, ("background", "a", "b"))
    assert Segmentation().outputs(three) == 3
    assert Regression().outputs(LabelledImages(PIXELS, torch.zeros(4, 3), ("x", "y", "z"))) == 3


def test_wrong_names_and_options_are_said():
    with pytest.raises(TaskError, match="task.kind='regresion': give one of classification, regression"):
        kind_of("regresion")
    with pytest.raises(TaskError, match="task.options.units: regression has no such option; it has unit"):
        kind_of("regression", {"units": "mm"})
    with pytest.raises(TaskError, match="task.options.decides='f1': give one of iou, dice"):
        PromptedSegmentation("f1")
    with pytest.raises(TaskError, match="task.options.decides='f1': give one of accuracy, macro_recall"):
        kind_of("classification", {"decides": "f1"})
