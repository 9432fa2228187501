"""Yearly value of the classification errors that an arm (a competitor of the comparison) avoids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.results import Comparison, Decision
from dynaxx.evaluation.statistics.paired import Interval

DAYS_PER_YEAR = 365


@dataclass(frozen=True)
class Prices:
    """Value of one avoided classification error, and number of images classified per day.

    Example: `Prices(value_per_error=2.0, requests_per_day=1000)`.

    Raises:
        EvaluationError: only one of the two numbers is given, or a number is negative or not finite.
    """

    value_per_error: float | None
    """Value of one avoided classification error, in any currency; None skips the estimate of the yearly value."""
    requests_per_day: float | None
    """Number of images that the model classifies per day; None skips the estimate of the yearly value."""

    def __post_init__(self) -> None:
        amounts = [self.value_per_error, self.requests_per_day]
        if amounts != [None, None] and not all(_is_amount(number) for number in amounts):
            raise EvaluationError(
                f"value_per_error={amounts[0]!r}, requests_per_day={amounts[1]!r}: give both, finite and 0 or more, or "
                "neither"
            )


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def with_value(decision: Decision, comparisons: Sequence[Comparison], prices: Prices) -> Decision:
    """The decision, with `yearly_value` and one more reason if it recommends an arm and prices are given.

        value = 365 · requests per day · (accuracy of the arm - accuracy of the baseline) · value of an error

    >>> with_value(decision, comparisons, Prices(0.5, 1000)).yearly_value.estimate  # 2 points more accurate
    3650.0

    The interval of the value is the confidence interval of the accuracy difference, multiplied by the same factors.
    The prices and the number of requests are taken as exact. The cost of computing is not subtracted.
    """
    gains = {comparison.a: comparison.difference for comparison in comparisons if comparison.b == "baseline"}
    if decision.arm not in gains or prices.value_per_error is None or prices.requests_per_day is None:
        return decision
    gain, unit = gains[decision.arm], prices.value_per_error * prices.requests_per_day * DAYS_PER_YEAR
    yearly = Interval(gain.estimate * unit, gain.low * unit, gain.high * unit, gain.confidence)
    sentence = (
        f"At {prices.requests_per_day:,g} requests a day and {prices.value_per_error:g} an error, what "
        f"{decision.arm} avoids is worth {yearly.estimate:,.0f} a year ({yearly.low:,.0f} to {yearly.high:,.0f}); what "
        "it costs to run is not counted."
    )
    return replace(decision, yearly_value=yearly, reasons=[*decision.reasons, sentence])
