"""Pairs, gains per class and agreement, on answers whose truth is known."""

import numpy as np
import pytest

from dynaxx.evaluation.statistics.comparisons import Comparison, agreements, class_gains, compare, pairs
from dynaxx.evaluation.statistics.paired import Bootstrap
from dynaxx.evaluation.statistics.scores import Scores
from dynaxx.tasks import Metric

ACCURACY, AUROC = Metric("accuracy"), Metric("auroc")
BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95, seed=0)


def test_all_meet_the_probe_and_a_reading_meets_all():
    arms = ["baseline", "lora", "direct", "explicit", "implicit", "full_finetune"]
    found = pairs(arms, ["direct", "implicit", "explicit"])
    assert {(arm, "baseline") for arm in arms[1:]} <= set(found)
    met = {frozenset(pair) for pair in found}
    assert len(met) == len(found)  # each pair once
    assert all(frozenset((a, b)) in met for a in ("direct", "implicit", "explicit") for b in arms if a != b)
    assert frozenset(("lora", "full_finetune")) not in met
    assert pairs(["baseline", "explicit"]) == [("explicit", "baseline")]


def test_nothing_is_compared_with_an_arm_that_is_not_there():
    assert pairs(["baseline", "lora"], ["direct"]) == [("lora", "baseline")]


def test_a_comparison_turned_is_the_other_way_round():
    generator = np.random.default_rng(2)
    a, b = generator.random((2, 7, 60)) < np.array([0.8, 0.6])[:, None, None]
    there, back = (Comparison.measure(*names, *pair, ACCURACY) for names, pair in (("ab", (a, b)), ("ba", (b, a))))
    turned = there.turned()
    assert (turned.a, turned.b) == ("b", "a")
    assert (turned.image_p, turned.sign_flip_p, turned.mcnemar) == (back.image_p, back.sign_flip_p, back.mcnemar)
    assert turned.difference.estimate == pytest.approx(back.difference.estimate)
    assert (there.better, there.worse) == (turned.worse, turned.better)


def test_only_answers_that_are_right_or_wrong_have_a_mcnemar_test():
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 3, 40))
    assert Comparison.measure("a", "b", a, b, Metric("iou")).mcnemar == []
    assert len(Comparison.measure("a", "b", a > 0.5, b > 0.5, ACCURACY).mcnemar) == 3


def test_influence_makes_the_interval_and_values_the_rest():
    """Scores with the same mean and three times the scatter: the interval is three times as wide."""
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 1, 300))
    wide = [Scores(x, x.mean() + 3 * (x - x.mean())) for x in (a, b)]
    plain, spread = Comparison.measure("a", "b", a, b, AUROC), Comparison.measure("a", "b", *wide, AUROC)
    assert spread.difference.estimate == pytest.approx(plain.difference.estimate)
    width = [c.difference.high - c.difference.low for c in (plain, spread)]
    assert width[1] == pytest.approx(3 * width[0])
    assert (spread.image_p, spread.relative) == (plain.image_p, plain.relative)


def test_copies_in_a_group_prove_no_more_than_one_of_them():
    """Six photographs, each eight times: interval and test are those of six."""
    generator = np.random.default_rng(3)
    b = generator.random((1, 6))
    a = b + 0.1 * generator.random((1, 6))
    a[0, 0] = b[0, 0] - 0.01
    once = Comparison.measure("a", "b", a, b, Metric("iou"))
    groups = [str(n) for n in range(6)] * 8
    copied = Comparison.measure("a", "b", np.tile(a, 8), np.tile(b, 8), Metric("iou"), groups)
    alone = Comparison.measure("a", "b", np.tile(a, 8), np.tile(b, 8), Metric("iou"))
    assert copied.image_p == pytest.approx(once.image_p)
    assert once.image_p > 0.05 > alone.image_p
    assert copied.difference.low == pytest.approx(once.difference.low, abs=1e-6)


def test_a_class_that_gains_stands_out_and_the_rarest_comes_first():
    labels = np.array([0] * 60 + [1] * 20 + [2] * 40)
    generator = np.random.default_rng(0)
    baseline = generator.random((8, 120)) < 0.5
    explicit = baseline.copy()
    explicit[:, labels == 1] = True
    found = class_gains({"explicit": explicit, "baseline": baseline}, labels, ["a", "b", "c"], [90, 10, 500], BOOTSTRAP)
    assert [gain.name for gain in found] == ["b", "a", "c"]  # of the test images c has fewer than a
    assert [gain.trained for gain in found] == [10, 90, 500]
    rare = found[0]
    assert rare.images == 20
    assert rare.difference.low > 0
    assert rare.holm_p == pytest.approx(3 * 2 / 2**8)
    assert [gain.difference.estimate for gain in found[1:]] == [0.0, 0.0]


def test_few_seeds_give_no_p():
    correct = {name: np.ones((3, 9), bool) for name in ("explicit", "baseline")}
    labels = np.arange(9) % 3
    assert all(gain.holm_p is None for gain in class_gains(correct, labels, "abc", [1, 1, 1], BOOTSTRAP))
    assert compare(correct, ACCURACY, (), BOOTSTRAP, [("explicit", "baseline")])[0].sign_flip_p is None


def test_agreement_is_of_answers_not_of_being_right():
    found = agreements({"a": np.array([[0, 1, 2, 3]]), "b": np.array([[0, 1, 3, 2]]), "c": np.array([[0, 1, 2, 3]])})
    assert {(pair.a, pair.b): pair.share for pair in found} == {("a", "b"): 0.5, ("a", "c"): 1.0, ("b", "c"): 0.5}
