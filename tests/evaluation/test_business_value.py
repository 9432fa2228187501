"""What avoided errors are worth."""

import pytest
from support.example_evaluation import make_evaluation, with_costs

from dynaxx.evaluation.business_value import check_requests, with_value
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import Decision


def test_the_estimate_is_requests_times_saved_cost_and_so_are_its_ends():
    priced = with_costs(make_evaluation(), per_error=0.5)
    found = with_value(priced.decision, priced.cost_comparisons, 1000)
    gain = next(c.difference for c in priced.comparisons if (c.a, c.b) == ("explicit", "baseline"))
    assert found.yearly_value is not None
    # 0.5 for each error: the gain in accuracy is the part of requests that no longer cost it
    assert found.yearly_value.estimate == pytest.approx(365 * 1000 * 0.5 * gain.estimate)
    assert found.yearly_value.low == pytest.approx(365 * 1000 * 0.5 * gain.low)
    assert f"{found.yearly_value.estimate:,.0f} a year" in found.beside[0]
    assert found.beside[1:] == priced.decision.beside


def test_no_price_no_requests_and_no_arm_leave_the_decision_as_it_is():
    evaluation, priced = make_evaluation(), with_costs(make_evaluation())
    assert with_value(evaluation.decision, evaluation.cost_comparisons, 1000) == evaluation.decision
    assert with_value(priced.decision, priced.cost_comparisons, None) == priced.decision
    kept = Decision("keep_probe", "baseline", "explicit", [])
    assert with_value(kept, priced.cost_comparisons, 1000) == kept


@pytest.mark.parametrize(
    ("requests", "costs", "words"),
    [
        (5, None, "evaluate.requests_per_day=5: gives a yearly value with evaluate.costs alone"),
        *(
            (value, 1.0, f"evaluate.requests_per_day={value!r}: give a number")
            for value in (-5, "5", True, float("nan"))
        ),
    ],
)
def test_requests_without_a_price_or_below_zero_are_refused(requests, costs, words):
    with pytest.raises(EvaluationError, match=words):
        check_requests(requests, costs)


def test_requests_may_be_left_out():
    check_requests(None, None)
    check_requests(None, 2.0)
    check_requests(0, 2.0)
