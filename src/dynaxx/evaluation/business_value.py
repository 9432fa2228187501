"""What the errors that an arm (a competitor of the comparison) avoids are worth in a year."""

from collections.abc import Sequence
from dataclasses import replace

from dynaxx.evaluation.arms.registry import BASELINE
from dynaxx.evaluation.costs import PER
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import Comparison, Decision
from dynaxx.evaluation.statistics.paired import Interval

DAYS_PER_YEAR = 365


def with_value(decision: Decision, cost_comparisons: Sequence[Comparison], requests_per_day: float | None) -> Decision:
    """The decision, with `yearly_value` if it recommends an arm, errors have prices and requests are known.

        value = 365 · requests per day · (cost of a request with the probe - cost of a request with the arm)

    >>> with_value(decision, cost_comparisons, 1000).yearly_value.estimate  # 10 less per 1,000 requests
    3650.0

    The interval of the value is that of the difference in cost, multiplied by the same factors. The prices and the
    number of requests are taken as exact. The cost of computing is not subtracted.
    """
    gains = {comparison.a: comparison.difference for comparison in cost_comparisons if comparison.b == BASELINE}
    if decision.arm not in gains or requests_per_day is None:
        return decision
    gain, unit = gains[decision.arm], requests_per_day * DAYS_PER_YEAR / PER
    yearly = Interval(gain.estimate * unit, gain.low * unit, gain.high * unit, gain.confidence)
    sentence = (
        f"At {requests_per_day:,g} requests a day, the errors that {decision.arm} avoids are worth "
        f"{yearly.estimate:,.0f} a year ({yearly.low:,.0f} to {yearly.high:,.0f}); what it costs to run is not counted."
    )
    return replace(decision, yearly_value=yearly, beside=[sentence, *decision.beside])


def check_requests(requests_per_day: object, costs: object) -> None:
    """Check `evaluate.requests_per_day`, which needs `evaluate.costs`.

    >>> check_requests(1000, 0.5)

    Raises:
        EvaluationError: it is not a number of at least 0, or no costs are given.
    """
    if requests_per_day is None:
        return
    good = isinstance(requests_per_day, int | float) and not isinstance(requests_per_day, bool)
    if not good or not 0 <= requests_per_day < float("inf"):  # type: ignore[operator]
        raise EvaluationError(f"evaluate.requests_per_day={requests_per_day!r}: give a number of at least 0, or null")
    if costs is None:
        raise EvaluationError(
            f"evaluate.requests_per_day={requests_per_day!r}: gives a yearly value with evaluate.costs alone, the "
            "price of errors; give both, or null"
        )
