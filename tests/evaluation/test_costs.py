"""Costs of errors against counting by hand, and thresholds against trying every one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from dynaxx.data import LabelledImages, Normalisation
from dynaxx.evaluation.costs import Prices, sample_costs, thresholds
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.pricing import Pricing
from dynaxx.evaluation.statistics import Bootstrap
from dynaxx.tasks import Choices, Classification, Regression, Segmentation

NAMES = ("good", "crack", "dent")


def choices(seed: int, number: int, classes: int) -> Choices:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (number,), generator=generator)
    scores = torch.randn(number, classes, generator=generator, dtype=torch.float64)
    scores[torch.arange(number), labels] += 1.0
    return Choices(scores.log_softmax(1), labels, NAMES[:classes], number)


def naive_costs(found: Choices, missed: list[float], false_alarm: list[float], asked: list[float]) -> list[float]:
    costs = []
    for scores, label in zip(found.scores.tolist(), found.labels.tolist(), strict=True):
        moved = [score - more for score, more in zip(scores, asked, strict=True)]
        answer = moved.index(max(moved))
        costs.append(0.0 if answer == label else missed[label] + false_alarm[answer])
    return costs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 25), st.integers(2, 3), st.integers(0, 20), st.integers(0, 20))
def test_the_threshold_of_one_class_is_the_best_of_all(seed, number, classes, missed, false_alarm):
    found = choices(seed, number, classes)
    prices = Prices.of({"crack": {"missed": missed, "false_alarm": false_alarm}}, found.classes)
    asked = thresholds(found, prices)
    costs = sample_costs(found, prices, asked)
    by_hand = [0.0] * classes, [0.0] * classes
    by_hand[0][1], by_hand[1][1] = missed, false_alarm
    assert costs.tolist() == pytest.approx(naive_costs(found, *by_hand, asked.tolist()))
    assert [asked[n] for n in range(classes) if n != 1] == [0.0] * (classes - 1)
    margins = [float(s[1] - max(s[n] for n in range(classes) if n != 1)) for s in found.scores]
    tried = [*sorted(margins), min(margins) - 1, max(margins) + 1]
    tried = [0.0, *tried, *((a + b) / 2 for a, b in zip(sorted(margins), sorted(margins)[1:], strict=False))]
    best = min(sum(naive_costs(found, *by_hand, [0.0, cut, 0.0][:classes])) for cut in tried)
    assert costs.sum() == pytest.approx(best)
    plain = sample_costs(found, prices, np.zeros(classes))
    if plain.sum() == pytest.approx(best):
        assert asked[1] == 0.0  # nothing is moved for nothing


def test_dear_misses_lower_the_threshold_and_dear_alarms_raise_it():
    found = choices(0, 300, 2)
    miss = thresholds(found, Prices.of({"crack": {"missed": 100, "false_alarm": 1}}, NAMES[:2]))[1]
    alarm = thresholds(found, Prices.of({"crack": {"missed": 1, "false_alarm": 100}}, NAMES[:2]))[1]
    assert miss < -1 < 1 < alarm


def test_several_classes_in_turn_never_cost_more_than_plain_answers():
    prices = Prices.of({"crack": {"missed": 50, "false_alarm": 1}, "dent": {"missed": 9, "false_alarm": 3}}, NAMES)
    for seed in range(10):
        found = choices(seed, 80, 3)
        asked = thresholds(found, prices)
        assert sample_costs(found, prices, asked).sum() <= sample_costs(found, prices, np.zeros(3)).sum()
        assert asked[0] == 0.0


def test_one_price_for_all_errors_counts_errors():
    found = choices(3, 50, 3)
    prices = Prices.of(2.5, found.classes)
    wrong = found.scores.argmax(1) != found.labels
    assert sample_costs(found, prices, thresholds(found, prices)).tolist() == (2.5 * wrong.double()).tolist()
    assert Prices.of(1, NAMES[:2]).moved == (1,)  # between two, scores may have no natural threshold


def test_pixels_count_as_their_part_of_an_image():
    logits = torch.tensor([[[[5.0, -5.0], [-5.0, -5.0]]], [[[5.0, 5.0], [5.0, 5.0]]]])
    masks = torch.tensor([[[1, 1], [0, 0]], [[0, 1], [0, 0]]], dtype=torch.uint8)
    data = LabelledImages(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), masks, ("background", "polyp"))
    found = Segmentation().choices(logits, data)
    assert found.classes == ("background", "polyp")
    prices = Prices.of({"polyp": {"missed": 100, "false_alarm": 4}}, found.classes)
    assert sample_costs(found, prices, np.zeros(2)).tolist() == [
        25.0,
        3.0,
    ]  # 1 pixel of 4 missed; 3 of 4 wrongly marked


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ("dear", "evaluate.costs='dear': give the price of an error, or prices per class"),
        (-1, "evaluate.costs=-1: give the price"),
        (True, "evaluate.costs=True"),
        (float("nan"), "evaluate.costs=nan"),
        ({}, "evaluate.costs={}"),
        ({"crack": 5}, "evaluate.costs.crack=5: give missed and false_alarm, or one of them"),
        ({"crack": {"mised": 5}}, "evaluate.costs.crack={'mised': 5}: give missed and false_alarm"),
        ({"crack": {"missed": "x"}}, "evaluate.costs.crack.missed='x': give a number of at least 0"),
        ({"crak": {"missed": 1}}, "evaluate.costs.crak: no such class; there are good, crack, dent"),
    ],
)
def test_what_is_no_price(costs, words):
    with pytest.raises(EvaluationError) as caught:
        Prices.of(costs, NAMES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class Brightness(torch.nn.Module):
    """Logits of `good` and `crack`: bright images are cracked, and the model asks for too much light."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        light = self.weight * x.mean((1, 2, 3))
        return torch.stack([0.8 - light, light - 0.8], dim=1) * 8


def lit(seed: int, number: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(number) % 2
    light = 90 + 60 * labels + (25 * torch.randn(number, generator=generator))
    pixels = light.clamp(0, 255).to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    return LabelledImages(pixels.contiguous(), labels, NAMES[:2])


PLAIN = Normalisation((0.0,) * 3, (1.0,) * 3)
BOOTSTRAP = Bootstrap(resamples=300, confidence=0.95, seed=0)


def test_thresholds_come_from_validation_samples_and_costs_from_test_samples():
    judge = Judge(Classification(), lit(0, 200), PLAIN, BOOTSTRAP)
    asked_for: list[int] = []

    def validation(seed: int) -> LabelledImages:
        asked_for.append(seed)
        return lit(10 + seed, 150)

    pricing = Pricing.open({"crack": {"missed": 10, "false_alarm": 1}}, judge, validation)
    assert pricing is not None
    model = Brightness().eval()
    asked, on_validation = pricing.thresholds(3, model)
    assert asked_for == [3]
    assert asked[1] < 0  # the model misses cracks
    output = judge.outputs(model)
    costs, plain = pricing.costs(output, asked), pricing.costs(output, np.zeros(2))
    result = pricing.result(np.stack([costs]), np.stack([plain]), [(asked, on_validation)])
    light = judge.data.images[:, 0, 0, 0].double() / 255
    answers = 16 * (light - 0.8) > asked[1]
    by_hand = torch.where(judge.data.labels == 1, 10.0 * ~answers, 1.0 * answers)
    assert result.per_1000.estimate == pytest.approx(1000 * float(by_hand.mean()))
    assert result.per_1000.low < result.per_1000.estimate < result.per_1000.high < result.plain
    assert result.thresholds == {"crack": [asked[1]]}
    assert result.validation_per_seed == [on_validation]


def test_a_task_without_classes_has_no_costs():
    data = LabelledImages(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 1), ("size",))
    judge = Judge(Regression(), data, PLAIN, BOOTSTRAP)
    with pytest.raises(EvaluationError, match="evaluate.costs=2: a task of regression has no classes; give null"):
        Pricing.open(2, judge, lambda seed: data)
    assert Pricing.open(None, judge, None) is None
    with pytest.raises(EvaluationError, match="thresholds need validation samples"):
        Pricing.open(2, judge, None)
