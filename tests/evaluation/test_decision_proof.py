"""What counts as proven in the decision, for a gain and for a rival that might take explicit's place."""

from dataclasses import replace

import pytest
from support.example_evaluation import make_arm
from test_decision import BEATEN, BIG, FAST, RIVALS, SMALL, UNPROVEN, WORSE, ZERO, run, said, versus

from dynaxx.evaluation.decision import decide
from dynaxx.evaluation.results import Comparison


def with_p(comparison: Comparison, image_p: float, sign_flip_p: float | None) -> Comparison:
    return replace(comparison, image_p=image_p, sign_flip_p=sign_flip_p)


@pytest.mark.parametrize(
    ("image_p", "sign_flip_p", "why"),
    [
        (0.25, None, "too few images tell them apart (exact p = 0.25); no gain is proven"),
        (0.25, 0.01, "too few images"),
        (0.001, 0.08, "the seeds disagree (p = 0.08 by sign flips); no gain is proven"),
        (float("nan"), None, "too few images"),
    ],
)
def test_an_interval_that_images_or_seeds_contradict_proves_nothing(image_p, sign_flip_p, why) -> None:
    arms = [make_arm("baseline"), make_arm("explicit", ratio=FAST), make_arm("direct", ratio=1.0)]
    gain = with_p(versus("explicit", "baseline", BIG), image_p, sign_flip_p)
    decision = decide(arms, [gain])
    assert decision.verdict == "do_not_adopt"
    assert why in said(decision)
    # nor that a rival is worse
    sure = [versus("explicit", "baseline", BIG), versus("direct", "baseline", BIG)]
    unsure = with_p(versus("explicit", "direct", BIG), image_p, sign_flip_p)
    assert decide(arms, [*sure, unsure]).arm == "direct"
    assert decide(arms, [*sure, with_p(unsure, 0.04, 0.04)]).arm == "explicit"


def test_a_rival_without_a_gain_of_its_own_replaces_nothing() -> None:
    pairs = {"explicit-baseline": BIG, **BEATEN, "explicit-concat_probe": ZERO}
    for kind in (UNPROVEN, SMALL, WORSE):
        decision = run({"explicit": FAST, **RIVALS}, pairs | {"concat_probe-baseline": kind})
        assert decision.arm == "explicit"
        assert "concat_probe is not proven to be worse, but it does not qualify either" in said(decision)


def test_one_iteration_is_weighed_as_a_single_pass() -> None:
    both = {"explicit-baseline": BIG, **BEATEN, "explicit-explicit_T1": ZERO}
    assert run({"explicit": 1.19, **RIVALS, "explicit_T1": 1.05}, both).arm == "explicit_T1"
    dear = {"explicit": 2.0, "explicit_T1": 1.05}
    assert run(dear, {"explicit-baseline": BIG, "explicit-explicit_T1": BIG}).arm == "explicit_T1"
