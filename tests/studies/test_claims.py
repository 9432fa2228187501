"""The ledger: what the committed results say, and that verdicts follow the numbers."""

from dataclasses import replace

import pytest

from dynaxx.evaluation.statistics import Interval
from studies.claims import CLAIMS, DOCS, ledger, read_results


def verdict(said, results):
    (claim,) = [claim for claim in CLAIMS if said in claim.said]
    return claim.found(results)[1]


def with_gap(results, regime, rival, low, high):
    """The results, had explicit minus `rival` been so."""
    finding = results.findings[regime]
    differences = [
        replace(d, interval=Interval((low + high) / 2, low, high, 0.95)) if d.rival == rival else d
        for d in finding.differences
    ]
    return replace(results, findings=results.findings | {regime: replace(finding, differences=differences)})


def test_the_committed_ledger_is_what_the_committed_results_say():
    assert (DOCS / "claims.md").read_text() == ledger(read_results())


@pytest.mark.parametrize(
    ("said", "rival", "gap", "expected"),
    [
        ("LoRA", "lora", (0.001, 0.02), "held"),
        ("LoRA", "lora", (-0.001, 0.02), "did not hold"),
        ("fine-tuning", "full_finetune", (-0.004, 0.01), "held"),
        ("fine-tuning", "full_finetune", (-0.006, 0.01), "did not hold"),
        ("within 1 to 2 %", "implicit", (0.001, 0.019), "held"),
        ("within 1 to 2 %", "implicit", (0.001, 0.021), "did not hold"),
        ("same couplings", "explicit_T1", (-0.001, 0.021), "did not hold"),
        ("5 to 15 %", "baseline", (0.02, 0.05), "did not hold"),
    ],
)
def test_verdicts_follow_the_interval(said, rival, gap, expected):
    assert verdict(said, with_gap(read_results(), "coarse/main", rival, *gap)) == expected


def test_what_beats_any_single_pass_by_a_point_is_named():
    results = read_results()
    regimes = ("membrane/labels-8", "coarse/tail-50", "coarse/main")
    for regime in regimes:
        results = with_gap(results, regime, "direct", 0.008, 0.016)
    assert verdict("any single pass", results) == "held"
    results = with_gap(results, "coarse/main", "direct", 0.001, 0.009)
    assert verdict("any single pass", results) == "holds only by a point for: dense, long tail"
    for regime in regimes:
        results = with_gap(results, regime, "direct", -0.01, 0.05)
    assert verdict("any single pass", results) == "did not hold"


def test_a_loop_that_settles_late_does_not_hold():
    results = read_results()
    late = results.settle | {"settled after": {"picard": [0.0] * 7 + [1.0] * 3}}
    assert verdict("5 to 7 iterations", replace(results, settle=late)) == "did not hold"


def test_what_no_experiment_asks_is_untested():
    assert verdict("land cover", read_results()) == "untested"


@pytest.mark.parametrize(("high", "expected"), [(-0.081, "held"), (-0.079, "did not hold")])
def test_how_much_smaller_an_error_is_follows_the_interval(high, expected):
    results = read_results()
    entry = results.regression["against"]["baseline"]
    against = {"baseline": entry | {"relative": entry["relative"] | {"high": high}}}
    assert verdict("regression", replace(results, regression=results.regression | {"against": against})) == expected


@pytest.mark.parametrize(("low", "expected"), [(0.02, "held"), (0.01, "did not hold")])
def test_a_gain_on_transformers_has_to_reach_two_per_cent_on_both(low, expected):
    results = with_gap(read_results(), "digits/class-token", "baseline", low, 0.05)
    assert verdict("transformers", results) == expected


def with_taps(results, **scores):
    finding = results.findings["digits/taps"]
    return replace(results, findings=results.findings | {"digits/taps": replace(finding, scores=scores)})


@pytest.mark.parametrize(
    ("three", "four", "expected"),
    [
        (0.012, 0.015, "held"),
        (0.008, 0.015, "holds only for four"),
        (0.012, 0.010, "holds only for three"),
        (0.008, 0.010, "did not hold"),
    ],
)
def test_how_much_three_and_four_taps_leave_of_what_six_gain(three, four, expected):
    gains = {"taps-2": 0.005, "explicit": three, "taps-4": four, "taps-6": 0.016}
    scores = {"baseline": 0.7} | {arm: 0.7 + gain for arm, gain in gains.items()}
    assert verdict("three taps", with_taps(read_results(), **scores)) == expected


@pytest.mark.parametrize(
    ("highs", "expected"),
    [((-0.01, -0.01), "held"), ((0.01, -0.01), "holds only from 4 times as strong on"), ((0.01, 0.01), "did not hold")],
)
def test_ignoring_low_level_cues_follows_the_intervals(highs, expected):
    results = read_results()
    factors = [entry for entry in results.overcoupling["factors"] if entry["factor"] > 1]
    entries = [
        entry | {"against trained": entry["against trained"] | {"high": high}}
        for entry, high in zip(factors, highs, strict=True)
    ]
    changed = replace(results, overcoupling=results.overcoupling | {"factors": entries})
    assert verdict("low-level cues", changed) == expected
