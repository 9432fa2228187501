"""The arithmetic of the verdicts."""

import numpy as np
import pytest

from benchmarks.arms import BARE, IMPLICIT, explicit
from benchmarks.bars import Spread, Verdict, inference_bars, iteration, judge, judge_memory, ratio
from benchmarks.networks import Case

SLOW = np.where(np.arange(20) % 2, 10.0, 1.0)
"""A machine ten times slower in half of the rounds."""


def test_a_ratio_is_taken_round_by_round():
    seconds = {"a": 1.2 * SLOW, "b": SLOW}
    verdict = judge(ratio("a", "b", 1.1), seconds)
    assert (verdict.value.median, verdict.value.p25, verdict.value.p75) == pytest.approx((1.2, 1.2, 1.2))
    assert not verdict.met
    assert verdict.missed_by == pytest.approx(0.1)
    assert str(verdict) == "bar 1.1 missed by 0.1"


def test_one_more_iteration_is_counted_in_passes_of_the_bare_backbone():
    seconds = {BARE: SLOW, explicit(5): 1.05 * SLOW, explicit(20): 1.2 * SLOW}
    verdict = judge(iteration(0.005), seconds)
    assert verdict.value.median == pytest.approx(0.01)
    assert verdict.missed_by == pytest.approx(0.005)


def test_at_the_bar_is_met_and_a_miss_within_the_spread_says_so():
    assert str(Verdict("figure", Spread(1.05, 1.0, 1.1), 1.05)) == "bar 1.05 met"
    assert str(Verdict("figure", Spread(1.06, 1.0, 1.1), 1.05)) == "bar 1.05 missed by 0.01, within the spread"
    assert str(Verdict("figure", Spread(1.06, 1.0, 1.1), 1.02, goal=True)).startswith("goal 1.02 missed by 0.04")


def test_memory_counts_weights_and_peak():
    assert judge_memory(210.0, 200.0).met
    assert judge_memory(220.0, 200.0).missed_by == pytest.approx(0.05)


def test_the_bars_of_the_issue():
    bars = {bar.figure: bar for bar in inference_bars(Case("resnet50", 8))}
    assert bars[f"{explicit(5)} / {BARE}"].most == 1.05
    assert bars[f"{IMPLICIT} / {explicit(1)}"].most == 1.0
    assert bars[f"{IMPLICIT} / {BARE}"].goal
    for other in (Case("resnet50", 1), Case("vit_b_16", 8), Case("resnet50", 64, device="cuda")):
        assert inference_bars(other)[0].most == 1.10
