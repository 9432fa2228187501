"""Pairs, gains per class and agreement, on answers whose truth is known."""

import numpy as np
import pytest

from dynaxx.evaluation.statistics.comparisons import agreements, class_gains, compare, pairs
from dynaxx.evaluation.statistics.paired import Bootstrap

BOOTSTRAP = Bootstrap(resamples=200, confidence=0.95, seed=0)


def test_explicit_meets_all_and_all_meet_the_baseline():
    found = pairs(["baseline", "lora", "direct", "explicit", "implicit"])
    assert {("explicit", b) for b in ("baseline", "lora", "direct")} <= set(found)
    assert {("lora", "baseline"), ("direct", "baseline"), ("implicit", "explicit"), ("implicit", "direct")} <= set(
        found
    )
    assert ("implicit", "explicit_T1") in pairs(["baseline", "explicit", "implicit", "explicit_T1"])
    assert len(found) == len(set(found))
    assert all(a != b for a, b in found)


def test_nothing_is_compared_with_an_arm_that_is_not_there():
    assert pairs(["baseline", "lora"]) == [("lora", "baseline")]


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
    assert compare(correct, BOOTSTRAP)[0].sign_flip_p is None


def test_agreement_is_of_answers_not_of_being_right():
    found = agreements({"a": np.array([[0, 1, 2, 3]]), "b": np.array([[0, 1, 3, 2]]), "c": np.array([[0, 1, 2, 3]])})
    assert {(pair.a, pair.b): pair.share for pair in found} == {("a", "b"): 0.5, ("a", "c"): 1.0, ("b", "c"): 0.5}
