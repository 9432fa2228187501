"""What avoided errors are worth."""

from dataclasses import replace

import pytest
from support.example_evaluation import make_evaluation

from dynaxx.evaluation.business_value import Prices, with_value
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import Decision


def test_the_estimate_is_requests_times_gain_times_price_and_so_are_its_ends():
    evaluation = make_evaluation()
    decision = Decision("adopt_explicit", "explicit", ["because"])
    found = with_value(decision, evaluation.comparisons, Prices(0.5, 1000))
    gain = next(c.difference for c in evaluation.comparisons if (c.a, c.b) == ("explicit", "baseline"))
    assert found.yearly_value is not None
    assert found.yearly_value.estimate == pytest.approx(365 * 1000 * 0.5 * gain.estimate)
    assert found.yearly_value.low == pytest.approx(365 * 1000 * 0.5 * gain.low)
    assert found.reasons[0] == "because"
    assert f"{found.yearly_value.estimate:,.0f} a year" in found.reasons[1]


def test_no_price_and_no_arm_leave_the_decision_as_it_is():
    comparisons = make_evaluation().comparisons
    decision = Decision("adopt_explicit", "explicit", [])
    assert with_value(decision, comparisons, Prices(None, None)) == decision
    nothing = replace(decision, verdict="do_not_adopt", arm=None)
    assert with_value(nothing, comparisons, Prices(1.0, 1.0)) == nothing


@pytest.mark.parametrize(
    ("price", "requests"),
    [(1.0, None), (None, 5), (-1.0, 5), (1.0, -5), (float("nan"), 5), (float("inf"), 5), ("1", 5)],
)
def test_half_a_price_or_a_negative_one_is_refused(price, requests):
    with pytest.raises(EvaluationError, match="value_per_error.*requests_per_day.*give both"):
        Prices(price, requests)
