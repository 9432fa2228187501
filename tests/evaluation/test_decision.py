"""Every way through the decision, as a table of gains and latencies."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from support.example_evaluation import ACCURACY, RMSE, make_arm, make_evaluation, with_costs

from dynaxx.evaluation.decision import CHEAPEST, MORE, READINGS, decide
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import ArmResult, Comparison, Decision, Interval
from dynaxx.tasks import Metric

BIG, SMALL, UNPROVEN, ZERO, WORSE = "big", "small", "unproven", "zero", "worse"
GAINS = {  # low, estimate, high, relative
    BIG: (0.03, 0.04, 0.05, 0.06),
    SMALL: (0.005, 0.010, 0.015, 0.015),
    UNPROVEN: (-0.01, 0.03, 0.07, 0.05),
    ZERO: (0.0, 0.03, 0.06, 0.05),
    WORSE: (-0.05, -0.04, -0.03, -0.06),
}
FAST, SLOW = 1.06, 1.45
VALIDATION = {"concat_probe": 0.80, "direct": 0.84, "implicit": 0.86, "explicit": 0.88}
"""On validation explicit is best, where nothing else is said."""


def versus(a: str, b: str, kind: str, image_p: float = 0.001, sign_flip_p: float | None = None) -> Comparison:
    low, estimate, high, relative = GAINS[kind]
    return Comparison(a, b, Interval(estimate, low, high, 0.95), [], sign_flip_p, relative, image_p)


def run(
    ratios: Mapping[str, float],
    pairs: Mapping[str, str],
    metric: Metric = ACCURACY,
    arms: Mapping[str, ArmResult] | None = None,
    **options: float,
) -> Decision:
    """`ratios`: latency ratio of each arm beside the probe; `pairs`: 'a-b' to the kind of difference.

    Where nothing else is said, arms gain much over the probe and nothing is proven between them.
    """
    every = [(a, b) for a in ratios for b in ratios if a < b]
    kinds = {f"{a}-baseline": BIG for a in ratios} | {f"{a}-{b}": UNPROVEN for a, b in every}
    for pair, kind in pairs.items():  # given the other way round, it takes that one's place
        kinds.pop("-".join(pair.split("-")[::-1]), None)
        kinds[pair] = kind
    made = {name: make_arm(name, ratio=ratio, val=VALIDATION.get(name)) for name, ratio in ratios.items()}
    made = {"baseline": make_arm("baseline", val=0.7)} | made | dict(arms or {})
    return decide(
        list(made.values()), [versus(*pair.split("-"), kind) for pair, kind in kinds.items()], metric, **options
    )


ALL = {"concat_probe": 1.01, "direct": 1.04, "explicit": FAST}


@pytest.mark.parametrize(
    ("ratios", "pairs", "verdict", "arm"),
    [
        # one reading by itself
        ({"explicit": FAST}, {}, "adopt", "explicit"),
        ({"explicit": 1.20}, {}, "adopt", "explicit"),
        ({"explicit": 1.2001}, {}, "keep_probe", "baseline"),
        *(
            ({"explicit": FAST}, {"explicit-baseline": kind}, "keep_probe", "baseline")
            for kind in (SMALL, UNPROVEN, ZERO, WORSE)
        ),
        # the first question is asked of the best reading on validation alone
        (ALL, {"explicit-baseline": UNPROVEN}, "keep_probe", "baseline"),
        (ALL, {"direct-baseline": UNPROVEN}, "adopt", "concat_probe"),
        # the cheapest that is not proven worse than the best
        (ALL, {}, "adopt", "concat_probe"),
        (ALL, {"explicit-concat_probe": BIG}, "adopt", "direct"),
        (ALL, {"concat_probe-explicit": WORSE}, "adopt", "direct"),
        (ALL, {"explicit-concat_probe": BIG, "explicit-direct": BIG}, "adopt", "explicit"),
        # it needs a gain of its own
        (ALL, {"concat_probe-baseline": UNPROVEN}, "adopt", "direct"),
        (ALL, {"concat_probe-baseline": SMALL, "direct-baseline": WORSE}, "adopt", "explicit"),
        # the best is over the budget: the best within it takes its place, whatever is proven between them
        (ALL | {"explicit": SLOW}, {"explicit-concat_probe": BIG, "explicit-direct": BIG}, "adopt", "concat_probe"),
        (
            ALL | {"explicit": SLOW},
            {"explicit-concat_probe": BIG, "explicit-direct": BIG, "direct-concat_probe": BIG},
            "adopt",
            "direct",
        ),
        # all with a gain are over it
        (ALL | {"explicit": SLOW}, {"concat_probe-baseline": ZERO, "direct-baseline": SMALL}, "keep_probe", "baseline"),
        (dict.fromkeys(ALL, SLOW), {}, "keep_probe", "baseline"),
        # rivals change nothing
        (ALL | {"lora": 1.0, "full_finetune": 1.0}, {"explicit-lora": WORSE}, "adopt", "concat_probe"),
        ({"explicit": FAST, "lora": 1.0}, {"explicit-baseline": WORSE}, "keep_probe", "baseline"),
    ],
)
def test_the_verdict(ratios: dict[str, float], pairs: dict[str, str], verdict: str, arm: str) -> None:
    decision = run(ratios, pairs)
    assert (decision.verdict, decision.arm, decision.best) == (verdict, arm, "explicit")
    assert decision.answers[0].question == MORE
    yes = decision.answers[0].answer == "Yes."
    assert [answer.question for answer in decision.answers] == ([MORE, CHEAPEST] if yes else [MORE])
    sentences = [*decision.beside, *(reason for answer in decision.answers for reason in answer.reasons)]
    assert sentences
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in sentences)


def said(decision: Decision) -> str:
    return " ".join(decision.reasons)


def test_reasons_hold_the_numbers_that_decided() -> None:
    told = said(run(ALL, {"explicit-concat_probe": BIG}))
    for number in (
        f"{MORE} Yes. explicit, the best reading on validation, gains 4.00 points of accuracy",
        "(95 % interval 3.00 to 5.00)",
        "6.0 % more than the probe reaches",
        f"{CHEAPEST} direct. direct costs 1.04 times the probe's latency, within the budget of 1.20",
        "concat_probe is not enough, as is proven: it loses 4.00 points of accuracy",
        "explicit, the best reading on validation within the budget, is not proven better",
    ):
        assert number in told


def test_an_error_is_lowered_and_not_gained() -> None:
    told = said(run(ALL, {"explicit-concat_probe": BIG}, RMSE))
    assert "explicit, the best reading on validation, lowers the RMSE by 0.0400 mm (95 % interval 0.0300 to" in told
    assert "6.0 % of the probe's RMSE" in told
    assert "concat_probe is not enough, as is proven: it raises the RMSE by 0.0400 mm" in told
    assert "points" not in told


@pytest.mark.parametrize(
    ("image_p", "sign_flip_p", "why"),
    [
        (0.25, None, "too few images tell them apart (p = 0.25 by sign flips)"),
        (0.25, 0.01, "too few images"),
        (0.001, 0.08, "the seeds disagree (p = 0.08 by sign flips)"),
        (float("nan"), None, "too few images"),
    ],
)
def test_an_interval_that_images_or_seeds_contradict_proves_nothing(image_p, sign_flip_p, why) -> None:
    arms = [make_arm("baseline"), make_arm("explicit", ratio=FAST, val=0.9), make_arm("direct", ratio=1.0, val=0.8)]
    sure = [versus("explicit", "baseline", BIG), versus("direct", "baseline", BIG)]
    unsure = versus("explicit", "direct", BIG, image_p, sign_flip_p)
    decision = decide(arms, [versus("explicit", "baseline", BIG, image_p, sign_flip_p), *sure[1:], unsure], ACCURACY)
    assert decision.verdict == "keep_probe"
    assert why in said(decision)
    # nor that a cheaper one is worse
    assert decide(arms, [*sure, unsure], ACCURACY).arm == "direct"
    assert decide(arms, [*sure, versus("explicit", "direct", BIG, 0.04, 0.04)], ACCURACY).arm == "explicit"


def test_another_reading_that_gains_on_the_test_data_is_told_and_not_chosen() -> None:
    decision = run(ALL, {"explicit-baseline": UNPROVEN, "concat_probe-baseline": ZERO})
    assert "On the test data direct does better than the probe, but was not the best on validation" in said(decision)
    assert "On the test data" not in said(run(ALL, dict.fromkeys((f"{name}-baseline" for name in ALL), UNPROVEN)))


def test_equally_cheap_within_the_spread_is_the_simplest() -> None:
    """Ratios of the examples spread by 0.01 to both sides: which of two is a hair cheaper is noise."""
    for probe, loop in ((1.05, 1.04), (1.04, 1.05)):
        assert run({"concat_probe": probe, "explicit": loop}, {}).arm == "concat_probe"
    assert run({"concat_probe": 1.08, "explicit": 1.05}, {}).arm == "explicit"
    assert "explicit costs the same within the spread of the rounds; concat_probe is the simplest" in said(
        run({"concat_probe": 1.05, "explicit": 1.04}, {})
    )


def test_of_readings_that_are_equal_on_validation_the_simplest_is_best_whatever_was_timed() -> None:
    for one, other in ((1.05, 1.15), (1.15, 1.05)):
        arms = {name: make_arm(name, ratio=ratio, val=0.9) for name, ratio in (("explicit", one), ("direct", other))}
        assert run({"explicit": one, "direct": other}, {}, arms=arms).best == "direct"


def test_a_latency_at_the_edge_of_the_budget_is_called_so_and_the_median_decides() -> None:
    for ratio, verdict in ((1.195, "adopt"), (1.205, "keep_probe")):
        near = run({"explicit": ratio}, {})
        assert near.verdict == verdict
        assert "so near it that another run may say otherwise" in said(near)
    assert "half of the rounds lie in 1.19 to 1.21" in said(run({"explicit": 1.2}, {}))
    assert "so near" not in said(run({"explicit": FAST}, {}))


def test_over_the_budget_says_what_would_do() -> None:
    told = said(run({"explicit": SLOW}, {}))
    assert "None within the latency budget; keep the probe." in told
    assert "explicit: 1.45 times the probe's latency, over the budget of 1.20" in told
    budget = float(told.split("evaluate.latency_budget=")[1].split(")")[0])
    assert run({"explicit": SLOW}, {}, latency_budget=budget).arm == "explicit"
    assert "select.taps" in told


def test_rivals_are_told_beside_it_with_their_training() -> None:
    rivals = {"lora": make_arm("lora", ratio=1.0, train=83.0), "full_finetune": make_arm("full_finetune", train=498.0)}
    ratios = ALL | {"lora": 1.0, "full_finetune": 1.0}
    told = run(ratios, {"concat_probe-full_finetune": WORSE}, arms=rivals).beside
    assert len(told) == 2
    assert told[0].startswith("lora ")
    assert "which proves nothing either way, at 2.0 times the training and 1.00 times the probe's latency" in told[0]
    assert "full_finetune gains 4.00 points of accuracy (95 % interval 3.00 to 5.00) against concat_probe" in told[1]
    assert "at 12.0 times the training" in told[1]
    assert "changes the backbone" in told[1]
    kept = run(ratios, {"explicit-baseline": WORSE}, arms=rivals)
    assert "lora gains 4.00 points of accuracy (95 % interval 3.00 to 5.00) against baseline" in said(kept)
    assert "last_tap_only" not in said(run(ALL | {"last_tap_only": 1.0}, {}))


def test_limits_can_be_moved() -> None:
    gain = {"explicit-baseline": SMALL}
    little = run({"explicit": FAST}, gain)
    assert little.answers[0].answer == "Too little."
    assert "1.5 % of what the probe reaches, less than the 2.0 % asked for" in said(little)
    assert run({"explicit": FAST}, gain, minimum_relative_gain=0.01).verdict == "adopt"
    assert run({"explicit": SLOW}, {}, latency_budget=0.5).verdict == "adopt"
    assert run({"explicit": FAST}, {}, latency_budget=0.05).verdict == "keep_probe"


def test_with_prices_costs_choose_the_best_and_decide() -> None:
    priced = with_costs(make_evaluation())
    assert "lowers the cost by" in said(priced.decision)
    assert "accuracy" not in said(priced.decision)
    # what costs least on validation is the best reading, whatever its accuracy there
    arms = [
        replace(arm, costs=replace(arm.costs, validation_per_seed=[1.0 if arm.name == "direct" else 2.0]))
        for arm in priced.arms
        if arm.costs is not None
    ]
    comparisons, metric = priced.deciding
    assert decide(arms, comparisons, metric).best == "direct"
    assert decide(arms, priced.comparisons, ACCURACY).best == "explicit"


def test_nan_never_adopts() -> None:
    nan = float("nan")
    arms = [make_arm("baseline"), make_arm("explicit", ratio=nan)]
    assert decide(arms, [versus("explicit", "baseline", BIG)], ACCURACY).verdict == "keep_probe"
    unknown = Comparison("explicit", "baseline", Interval(nan, nan, nan, 0.95), [], None, nan, nan)
    assert decide([make_arm("baseline"), make_arm("explicit")], [unknown], ACCURACY).verdict == "keep_probe"


@pytest.mark.parametrize(
    ("names", "pairs", "word"),
    [
        (["explicit"], ["explicit-baseline"], "needs 'baseline'"),
        (["baseline", "lora"], ["lora-baseline"], "one of"),
        (["baseline", "explicit"], [], "'explicit' against 'baseline'"),
        (["baseline", "explicit"], ["baseline-explicit"], "'explicit' against 'baseline'"),
        (
            ["baseline", "explicit", "direct"],
            ["explicit-baseline", "direct-baseline"],
            "lack 'explicit' against 'direct'",
        ),
        ([], [], "arms are"),
    ],
)
def test_what_cannot_be_decided(names: list[str], pairs: list[str], word: str) -> None:
    arms = [make_arm(name, val=VALIDATION.get(name)) for name in names]
    with pytest.raises(EvaluationError, match=word):
        decide(arms, [versus(*pair.split("-"), BIG) for pair in pairs], ACCURACY)


def test_the_readings_are_named_the_simplest_first() -> None:
    assert READINGS[0] == "baseline"
    assert READINGS.index("concat_probe") < READINGS.index("direct") < READINGS.index("explicit")
