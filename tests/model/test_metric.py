"""Calibration judges by the task's own metric, and says so where it cannot know it."""

from typing import Any

import pytest
import torch
from support.nets import PLAIN_TAPS, Plain, images
from torch import nn
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from dynaxx import ResonanceError, wrap_with_resonance
from dynaxx.model.metric import as_metric, classes_and_labels, next_tokens, prediction_of

X = images(batch=6)


class Maps(Plain):
    """Scores for every position; by default as many classes as rows and columns."""

    def __init__(self, classes=8, name=None):
        super().__init__()
        self.answer, self.name = nn.Conv2d(12, classes, 1), name

    def forward(self, x):
        x = self.act(self.early(self.entry(x)))
        maps = nn.functional.interpolate(self.answer(self.late(self.middle(x))), size=(8, 8))
        return maps if self.name is None else {self.name: maps, "aux": maps * 0}


class Number(Plain):
    def forward(self, x):
        return super().forward(x)[:, :1]


def wrapped(net, **options):
    """A loop that converges at once, so that calibration changes nothing."""
    model = wrap_with_resonance(net.eval(), PLAIN_TAPS, T=4, rank=3, damping=1.0, example_input=X, **options)
    for U in model.resonator.exchange.couplings.U:
        nn.init.normal_(U, std=1e-3)
    return model


@pytest.mark.parametrize("name", [None, "out", "logits"])
@pytest.mark.parametrize("form", ["whole", "with an axis", "one-hot"])
def test_maps_are_judged_over_axis_one(name, form):
    model = wrapped(Maps(name=name))
    with torch.no_grad():
        labels = prediction_of(model(X)).argmax(1)
    labels[0] = (labels[0] + 1) % 8
    if form == "with an axis":
        labels = labels[:, None]
    if form == "one-hot":
        labels = nn.functional.one_hot(labels, 8).movedim(-1, 1)
    assert model.calibrate([(X, labels)]).score == pytest.approx(5 / 6)


@pytest.mark.parametrize("form", [lambda y: y, lambda y: y[:, None], lambda y: nn.functional.one_hot(y, 5).float()])
def test_labels_of_every_form_give_one_accuracy(form):
    model = wrapped(Plain())
    labels = model(X).argmax(1)
    labels[:2] = (labels[:2] + 1) % 5
    report = model.calibrate([(X[:4], form(labels[:4])), (X[4:], form(labels[4:]))])
    assert report.score == pytest.approx(4 / 6)
    assert (report.metric, report.higher_is_better) == ("accuracy", True)


def test_tokens_are_judged_over_the_last_axis_without_the_ignored():
    scores = torch.zeros(1, 4, 7)
    scores[0, torch.arange(4), torch.tensor([3, 1, 0, 6])] = 1.0
    labels = torch.tensor([[3, 2, -100, 6]])
    score = as_metric(None, None).start()
    score.update(scores, labels)
    assert score.compute() == pytest.approx(2 / 3)
    assert classes_and_labels(scores.movedim(2, 1), labels)[0].shape == (1, 4, 7)
    with pytest.raises(ResonanceError, match="axis 1 or 2"):
        classes_and_labels(torch.zeros(2, 4, 4), torch.zeros(2, 4, dtype=torch.long))


def test_labels_that_repeat_the_inputs_are_next_tokens():
    ids = torch.tensor([[5, 6, 7, 8]])
    scores = torch.randn(1, 4, 9)
    assert next_tokens(scores, ids, ids)[0].shape == (1, 3, 9)
    masked = torch.tensor([[-100, -100, 7, 8]])
    assert next_tokens(scores, masked, ids)[1].tolist() == [[-100, 7, 8]]
    shifted = ids.roll(-1, 1)
    assert next_tokens(scores, shifted, ids)[1] is shifted


UNCLEAR = [
    (torch.zeros(4, 1), torch.zeros(4), "metric="),
    (torch.zeros(4, 3), torch.zeros(4, 3), "one-hot"),
    (torch.zeros(4, 3), torch.ones(4, 3, dtype=torch.long), "one-hot"),
    (torch.zeros(4, 3), torch.zeros(5, dtype=torch.long), "shapes do not fit"),
    (torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]), "0 to 3, the output has 3 classes"),
    (torch.zeros(4, 3), torch.tensor([0, 1, -1, 2]), "-1 to 2"),
    (torch.zeros(4, 3, 8, 8), torch.full((4, 8, 8), 255), "255"),
    (torch.zeros(4, 1), torch.ones(4, dtype=torch.long), "metric="),
    ((torch.zeros(4, 3),), torch.ones(4, dtype=torch.long), "tuple"),
]


@pytest.mark.parametrize(("output", "labels", "says"), UNCLEAR)
def test_where_the_metric_is_in_doubt_one_line_names_it(output, labels, says):
    with pytest.raises(ResonanceError, match=says) as caught:
        classes_and_labels(output, labels)
    assert "metric=" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_regression_needs_a_metric_and_less_of_it_is_better():
    model = wrapped(Number())
    target = torch.randn(6)
    with pytest.raises(ResonanceError, match="metric="):
        model.calibrate([(X, target)])
    with torch.no_grad():
        expected = float((model(X)[:, 0] - target).square().mean())
    with pytest.raises(ResonanceError, match=r"MeanSquaredError does not take outputs \(6, 1\).*labels \(6,\)"):
        model.calibrate([(X, target)], metric=MeanSquaredError())
    for metric, labels in (("mean_squared_error", target), (MeanSquaredError(), target[:, None])):
        loader = [(X[:2], labels[:2]), (X[2:], labels[2:])]
        report = model.calibrate(loader, metric=metric, baseline_score=expected - 0.01)
        assert report.score == pytest.approx(expected, rel=1e-4)
        assert report.over_coupled
        assert list(report.ablation.values()) == sorted(report.ablation.values())
        assert not model.calibrate(loader, metric=metric, baseline_score=expected + 0.01).over_coupled


def test_a_function_is_weighted_by_the_samples_and_the_users_metric_keeps_what_it_saw():
    model = wrapped(Plain())
    labels = model(X).argmax(1)
    loader = [(X[:5], labels[:5]), (X[5:], (labels[5:] + 1) % 5)]

    def share(output, labels):
        return (output.argmax(1) == labels).float().mean()

    assert model.calibrate(loader, metric=share, higher_is_better=True).score == pytest.approx(5 / 6)
    metric = MulticlassAccuracy(5, average="micro")
    metric.update(torch.eye(5), torch.arange(5))
    assert model.calibrate(loader, metric=metric).score == pytest.approx(5 / 6)
    assert metric.compute() == 1.0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metric": "f1"}, "no metric of that name"),
        ({"metric": MulticlassAccuracy}, "the class MulticlassAccuracy"),
        ({"metric": 3}, "no metric"),
        ({"metric": nn.functional.cross_entropy}, "higher_is_better="),
        ({"metric": "cross_entropy", "higher_is_better": True}, "less is better"),
        ({"metric": "accuracy", "higher_is_better": "yes"}, "True, False or None"),
        ({"metric": MetricCollection([MulticlassAccuracy(5)]), "higher_is_better": True}, "gave dict"),
        ({"metric": lambda output, labels: output, "higher_is_better": True}, "gave a tensor"),
    ],
)
def test_what_is_no_metric_is_one_line(options, says):
    model = wrapped(Plain())
    with pytest.raises(ResonanceError, match=says) as caught:
        model.calibrate([(X, torch.zeros(6, dtype=torch.long))], **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"metric": "accuracy"}, {"baseline_score": 0.5}])
def test_without_labels_nothing_is_judged(options):
    model = wrapped(Plain())
    assert model.calibrate([X]).metric is None
    with pytest.raises(ResonanceError, match="no labels"):
        model.calibrate([X], **options)


@pytest.mark.parametrize("kind", [dict, tuple, list])
def test_a_function_of_labels_in_a_container_is_weighted_by_samples(kind):
    def labelled(samples: int) -> Any:
        parts = {"classes": torch.zeros(samples), "boxes": torch.zeros(samples, 4), "names": "ab"}
        return parts if kind is dict else kind(parts.values())

    metric = as_metric(lambda output, labels: float(len(output)), higher_is_better=True)
    score = metric.start()
    for samples in (3, 1):
        metric.update(score, torch.zeros(samples, 2), labelled(samples))
    assert score.compute() == (3 * 3 + 1 * 1) / 4


@pytest.mark.parametrize("name", ["accuracy", "cross_entropy"])
def test_a_score_that_is_no_number_is_the_worst(name):
    metric = as_metric(name, None)
    assert metric.worse(float("nan"), 0.5)
    assert not metric.worse(0.5, float("nan"))
    assert not metric.worse(float("nan"), float("nan"))
