"""Rules for values of settings: each says in words what a value may be, and judges one."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """One rule: which values a key may have.

    >>> whole(1).holds(0)
    False

    Attributes:
        words: valid values in words, after "give".
        holds: whether a value is valid.
    """

    words: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int | None = None) -> Rule:
    """The rule for whole numbers."""
    words = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    return Rule(words, lambda v: isinstance(v, int) and not isinstance(v, bool) and least <= v <= (most or v))


def number(words: str, holds: Callable[[float], bool]) -> Rule:
    """The rule for finite numbers for which `holds` is true; the words describe them."""
    return Rule(
        f"a number {words}".rstrip(),
        lambda v: isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) and holds(v),
    )


def one_of(*names: str) -> Rule:
    """The rule for one of these names."""
    return Rule(f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names)


def listed(rule: Rule, *, distinct: bool = True, empty: bool = False) -> Rule:
    """The rule for lists whose elements follow `rule`; by default not empty, and without repetition."""

    def holds(value: Any) -> bool:
        good = isinstance(value, list) and (empty or bool(value)) and all(rule.holds(v) for v in value)
        return good and (not distinct or len({repr(v) for v in value}) == len(value))

    return Rule(f"a list{', each element once' if distinct else ''}, and each element {rule.words}", holds)


def either(*rules: Rule) -> Rule:
    """The rule for values that follow one of several rules."""
    return Rule(", or ".join(rule.words for rule in rules), lambda v: any(rule.holds(v) for rule in rules))


NULL = Rule("null", lambda v: v is None)
AUTO = Rule("auto", lambda v: v == "auto")
FLAG = Rule("true or false", lambda v: isinstance(v, bool))
TEXT = Rule("text", lambda v: isinstance(v, str) and bool(v))
MAPPING = Rule("a group of keys", lambda v: isinstance(v, Mapping))
TARGET = Rule("keys of which _target_ names a class", lambda v: isinstance(v, Mapping) and "_target_" in v)
NETWORK = Rule(f"{TARGET.words}; for an own model take model=timm, model=torchvision or model=python", TARGET.holds)
WHEEL = Rule(
    "keys package, file and sha256",
    lambda v: isinstance(v, Mapping) and set(v) == {"package", "file", "sha256"} and all(map(TEXT.holds, v.values())),
)
COUNT = whole(1)
FROM_ZERO = whole(0)
SEED = whole(0, 2**32 - 1)
POSITIVE = number("above 0", lambda v: v > 0)
NOT_NEGATIVE = number("of at least 0", lambda v: v >= 0)
INSIDE = number("above 0 and below 1", lambda v: 0 < v < 1)
BELOW_ONE = number("of at least 0 and below 1", lambda v: 0 <= v < 1)
SHARE = number("from 0 to 1", lambda v: 0 <= v <= 1)
PART = number("above 0 and at most 1", lambda v: 0 < v <= 1)
SHARES = Rule(
    "classes and the share of each that is kept, above 0 and at most 1, as {river: 0.05}",
    lambda v: isinstance(v, Mapping) and all(PART.holds(share) for share in v.values()),
)
STORE = Rule(
    "a store, as sqlite:///mlflow.db, postgresql://USER@HOST/DATABASE or http://HOST:5000",
    lambda v: isinstance(v, str) and re.match(r"(sqlite|postgresql|mysql|mssql)(\+\w+)?://|https?://.", v) is not None,
)
PATH = either(Rule("a path", TEXT.holds), NULL)
CHANNELS = either(listed(number("", lambda v: True), distinct=False), NULL)
DEVIATIONS = either(listed(POSITIVE, distinct=False), NULL)


BOUNDS = Rule(
    "least and most, as [12, 32]",
    lambda v: isinstance(v, list) and len(v) == 2 and all(whole(2).holds(n) for n in v) and v[0] <= v[1],
)


def _are_costs(value: Any) -> bool:
    if NOT_NEGATIVE.holds(value):
        return True
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(
            isinstance(prices, Mapping)
            and bool(prices)
            and set(prices) <= {"missed", "false_alarm"}
            and all(NOT_NEGATIVE.holds(price) for price in prices.values())
            for prices in value.values()
        )
    )


COSTS = Rule("the price of an error, or prices per class as {polyp: {missed: 100, false_alarm: 1}}", _are_costs)


def tried(rule: Rule) -> Rule:
    """The rule for a list of values to try, or null for none."""
    return either(listed(rule), NULL)
