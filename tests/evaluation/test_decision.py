"""Every way through the decision, as a table of gains and latencies."""

import itertools
from collections.abc import Mapping

import pytest
from support.example_evaluation import make_arm

from dynaxx.evaluation.decision import decide
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import Comparison, Decision, Interval

HUGE, BIG, SMALL, TINY, UNPROVEN, ZERO, WORSE = "huge", "big", "small", "tiny", "unproven", "zero", "worse"
GAINS = {  # low, estimate, high, relative
    HUGE: (0.08, 0.09, 0.10, 0.12),
    BIG: (0.03, 0.04, 0.05, 0.06),
    SMALL: (0.005, 0.010, 0.015, 0.015),
    TINY: (0.002, 0.004, 0.006, 0.006),
    UNPROVEN: (-0.01, 0.03, 0.07, 0.05),
    ZERO: (0.0, 0.03, 0.06, 0.05),
    WORSE: (-0.05, -0.04, -0.03, -0.06),
}


def versus(a: str, b: str, kind: str) -> Comparison:
    low, estimate, high, relative = GAINS[kind]
    return Comparison(a, b, Interval(estimate, low, high, 0.95), [], None, relative, 0.001)


def run(ratios: Mapping[str, float], pairs: Mapping[str, str], **options: float) -> Decision:
    """`ratios`: latency ratio of each arm beside the baseline; `pairs`: 'a-b' to the kind of difference.

    A rival that explicit is compared with gains much over the baseline, where nothing else is said.
    """
    compared = [pair.split("-")[1] for pair in pairs if pair.startswith("explicit-") and pair != "explicit-baseline"]
    pairs = {f"{rival}-baseline": BIG for rival in compared} | dict(pairs)
    arms = [make_arm("baseline"), *(make_arm(name, ratio=ratio) for name, ratio in ratios.items())]
    comparisons = [versus(*pair.split("-"), kind) for pair, kind in pairs.items()]
    return decide(arms, comparisons, **options)


FAST, SLOW = 1.06, 1.45
RIVALS = {"concat_probe": 1.01, "direct": 1.04}
BEATEN = {"explicit-concat_probe": BIG, "explicit-direct": BIG}
IMPLICIT_BEATS = {"implicit-concat_probe": BIG, "implicit-direct": BIG}


@pytest.mark.parametrize(
    ("ratios", "pairs", "verdict", "arm"),
    [
        # explicit by itself
        ({"explicit": FAST}, {"explicit-baseline": BIG}, "adopt_explicit", "explicit"),
        ({"explicit": 1.20}, {"explicit-baseline": BIG}, "adopt_explicit", "explicit"),
        ({"explicit": 1.2001}, {"explicit-baseline": BIG}, "do_not_adopt", None),
        ({"explicit": FAST}, {"explicit-baseline": SMALL}, "do_not_adopt", None),
        ({"explicit": SLOW}, {"explicit-baseline": TINY}, "do_not_adopt", None),
        ({"explicit": FAST}, {"explicit-baseline": UNPROVEN}, "do_not_adopt", None),
        ({"explicit": FAST}, {"explicit-baseline": ZERO}, "do_not_adopt", None),
        ({"explicit": FAST}, {"explicit-baseline": WORSE}, "do_not_adopt", None),
        # over budget, implicit has its turn; where explicit has no gain, it has not
        *(
            ({"explicit": SLOW, "implicit": ratio}, {"explicit-baseline": BIG, "implicit-baseline": kind}, *end)
            for ratio, kind, end in [
                (FAST, BIG, ("adopt_implicit", "implicit")),
                (SLOW, BIG, ("do_not_adopt", None)),
                (FAST, SMALL, ("do_not_adopt", None)),
                (FAST, UNPROVEN, ("do_not_adopt", None)),
            ]
        ),
        (
            {"explicit": FAST, "implicit": FAST},
            {"explicit-baseline": UNPROVEN, "implicit-baseline": BIG},
            "do_not_adopt",
            None,
        ),
        ({"implicit": FAST}, {"implicit-baseline": BIG}, "adopt_implicit", "implicit"),
        # rivals that explicit beats, equals, or loses to
        ({"explicit": FAST, **RIVALS}, {"explicit-baseline": BIG, **BEATEN}, "adopt_explicit", "explicit"),
        *(
            (
                {"explicit": ratio, **RIVALS},
                {"explicit-baseline": BIG, **BEATEN, f"explicit-{rival}": kind},
                "adopt_cheaper",
                rival,
            )
            for ratio, rival, kind in itertools.product((FAST, SLOW), RIVALS, (UNPROVEN, ZERO, WORSE))
        ),
        # both do as well: the simpler one
        (
            {"explicit": FAST, **RIVALS},
            {"explicit-baseline": BIG, "explicit-direct": ZERO, "explicit-concat_probe": ZERO},
            "adopt_cheaper",
            "concat_probe",
        ),
        # as good but dearer is no substitute; dearer within the spread of the ratio is
        (
            {"explicit": FAST, "direct": 1.12},
            {"explicit-baseline": BIG, "explicit-direct": ZERO},
            "adopt_explicit",
            "explicit",
        ),
        (
            {"explicit": FAST, "direct": 1.065},
            {"explicit-baseline": BIG, "explicit-direct": ZERO},
            "adopt_cheaper",
            "direct",
        ),
        ({"explicit": SLOW, "direct": 1.40}, {"explicit-baseline": BIG, "explicit-direct": ZERO}, "do_not_adopt", None),
        # implicit has to beat them too
        (
            {"explicit": SLOW, "implicit": FAST, **RIVALS},
            {"explicit-baseline": BIG, **BEATEN, "implicit-baseline": BIG, **IMPLICIT_BEATS},
            "adopt_implicit",
            "implicit",
        ),
        (
            {"explicit": SLOW, "implicit": FAST, **RIVALS},
            {"explicit-baseline": BIG, **BEATEN, "implicit-baseline": BIG, **IMPLICIT_BEATS}
            | {"implicit-direct": ZERO},
            "adopt_cheaper",
            "direct",
        ),
        # no resonant arm qualifies: a rival that does by itself, the most accurate first
        ({"explicit": FAST, **RIVALS}, {"explicit-baseline": WORSE, "direct-baseline": BIG}, "adopt_cheaper", "direct"),
        (
            {"explicit": FAST, **RIVALS},
            {"explicit-baseline": SMALL, "concat_probe-baseline": BIG, "direct-baseline": SMALL},
            "adopt_cheaper",
            "concat_probe",
        ),
        (
            {"explicit": FAST, **RIVALS},
            {"explicit-baseline": UNPROVEN, "concat_probe-baseline": BIG, "direct-baseline": HUGE},
            "adopt_cheaper",
            "direct",
        ),
        (
            {"explicit": FAST, "direct": SLOW},
            {"explicit-baseline": SMALL, "direct-baseline": BIG},
            "do_not_adopt",
            None,
        ),
        ({"explicit": FAST, **RIVALS}, {"explicit-baseline": WORSE, "direct-baseline": UNPROVEN}, "do_not_adopt", None),
    ],
)
def test_the_verdict(ratios: dict[str, float], pairs: dict[str, str], verdict: str, arm: str | None) -> None:
    decision = run(ratios, pairs)
    assert (decision.verdict, decision.arm) == (verdict, arm)
    assert decision.reasons
    assert all(reason.endswith(".") and "\n" not in reason for reason in decision.reasons)


def said(decision: Decision) -> str:
    return " ".join(decision.reasons)


def test_reasons_hold_the_numbers_that_decided() -> None:
    decision = run({"explicit": FAST, **RIVALS}, {"explicit-baseline": BIG, **BEATEN})
    for number in (
        "+4.00 points",
        "95 % interval +3.00 to +5.00",
        "6.0 % relative",
        "1.06 times",
        "budget of 1.20",
    ):
        assert number in said(decision)
    assert "explicit against direct" in said(decision)


def test_over_budget_says_fewer_taps_only_where_nothing_else_helps() -> None:
    slow = run({"explicit": SLOW, "implicit": SLOW}, {"explicit-baseline": BIG, "implicit-baseline": BIG})
    assert "fewer taps" in said(slow)
    assert "1.45 times the backbone's latency, over the budget of 1.20" in said(slow)
    lost = run({"explicit": SLOW, "implicit": FAST}, {"explicit-baseline": BIG, "implicit-baseline": UNPROVEN})
    assert "fewer taps" in said(lost)
    absent = run({"explicit": SLOW}, {"explicit-baseline": BIG})
    assert "fewer taps" in said(absent)
    assert "implicit was not evaluated." in absent.reasons
    saved = run({"explicit": SLOW, "implicit": FAST}, {"explicit-baseline": BIG, "implicit-baseline": BIG})
    assert "fewer taps" not in said(saved)
    assert "fewer taps" not in said(run({"explicit": FAST}, {"explicit-baseline": WORSE}))


def test_a_rival_that_does_not_replace_is_told_why() -> None:
    equal = {"explicit-baseline": BIG, "explicit-direct": ZERO}
    assert "does as well but is over the budget, at 1.30" in said(run({"explicit": SLOW, "direct": 1.30}, equal))
    assert "does as well but is not cheaper, at 1.12" in said(run({"explicit": FAST, "direct": 1.12}, equal))


def test_a_gain_under_one_per_cent_at_high_cost_is_a_plain_no() -> None:
    high = said(run({"explicit": SLOW}, {"explicit-baseline": TINY}))
    assert "a gain under 1 % is not worth 1.45 times the backbone's latency" in high
    assert "not worth" not in said(run({"explicit": FAST}, {"explicit-baseline": TINY}))


def test_what_was_not_measured_is_said() -> None:
    decision = run({"explicit": FAST, "direct": 1.0}, {"explicit-baseline": BIG})
    assert decision.verdict == "adopt_explicit"
    assert "concat_probe was not evaluated" in said(decision)
    assert "explicit was not compared with direct" in said(decision)


def test_other_single_passes_are_weighed_where_they_were_evaluated() -> None:
    both = {"explicit-baseline": BIG, **BEATEN}
    lora = run({"explicit": FAST, **RIVALS, "lora": 1.0}, both | {"explicit-lora": ZERO, "lora-baseline": BIG})
    assert (lora.verdict, lora.arm) == ("adopt_cheaper", "lora")
    beaten = run({"explicit": FAST, **RIVALS, "concat_mlp": 1.0}, both | {"explicit-concat_mlp": BIG})
    assert beaten.verdict == "adopt_explicit"
    assert "lora" not in said(beaten)
    alone = run({"explicit": FAST, "lora": 1.0}, {"explicit-baseline": WORSE, "lora-baseline": BIG})
    assert (alone.verdict, alone.arm) == ("adopt_cheaper", "lora")


@pytest.mark.parametrize(
    ("kind", "words"), [(WORSE, "is better"), (ZERO, "does as well"), (BIG, "does not do as well")]
)
def test_fine_tuning_the_backbone_is_told_of_and_never_recommended(kind: str, words: str) -> None:
    pairs = {"explicit-baseline": BIG, **BEATEN, "explicit-full_finetune": kind, "full_finetune-baseline": HUGE}
    decision = run({"explicit": FAST, **RIVALS, "full_finetune": 1.0}, pairs)
    assert decision.verdict == "adopt_explicit"
    assert f"full_finetune {words}, but gives up the frozen backbone" in said(decision)
    pairs["explicit-baseline"] = WORSE
    assert run({"explicit": FAST, "full_finetune": 1.0}, pairs).verdict == "do_not_adopt"


def test_a_latency_at_the_edge_of_the_budget_is_called_so() -> None:
    near = run({"explicit": 1.195}, {"explicit-baseline": BIG})  # the examples spread by 0.01 to both sides
    assert near.verdict == "adopt_explicit"
    assert "so near it that another run may say otherwise (half of the rounds: 1.19 to 1.21)" in said(near)
    assert "so near" not in said(run({"explicit": FAST}, {"explicit-baseline": BIG}))


def test_limits_can_be_moved() -> None:
    gain = {"explicit-baseline": SMALL}
    assert run({"explicit": FAST}, gain, minimum_relative_gain=0.01).verdict == "adopt_explicit"
    assert run({"explicit": SLOW}, {"explicit-baseline": BIG}, latency_budget=0.5).verdict == "adopt_explicit"
    assert run({"explicit": FAST}, {"explicit-baseline": BIG}, latency_budget=0.05).verdict == "do_not_adopt"


def test_nan_never_adopts() -> None:
    nan = float("nan")
    arms = [make_arm("baseline"), make_arm("explicit", ratio=nan)]
    assert decide(arms, [versus("explicit", "baseline", BIG)]).verdict == "do_not_adopt"
    unknown = Comparison("explicit", "baseline", Interval(nan, nan, nan, 0.95), [], None, nan, nan)
    assert decide([make_arm("baseline"), make_arm("explicit")], [unknown]).verdict == "do_not_adopt"


@pytest.mark.parametrize(
    ("names", "pairs", "word"),
    [
        (["explicit"], ["explicit-baseline"], "needs 'baseline'"),
        (["baseline", "direct"], ["direct-baseline"], "one of"),
        (["baseline", "explicit"], [], "'explicit' against 'baseline'"),
        (["baseline", "explicit"], ["baseline-explicit"], "'explicit' against 'baseline'"),
        (["baseline", "explicit", "implicit"], ["explicit-baseline"], "'implicit' against 'baseline'"),
        ([], [], "arms are"),
    ],
)
def test_what_cannot_be_decided(names: list[str], pairs: list[str], word: str) -> None:
    with pytest.raises(EvaluationError, match=word):
        decide([make_arm(name) for name in names], [versus(*pair.split("-"), BIG) for pair in pairs])
