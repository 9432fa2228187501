"""The search space of a sweep: parameters and their bounds, in Hydra's notation for sweeps.

    T: int(interval(1, 10))      rank: tag(log, int(interval(2, 64)))      damping: interval(0.3, 1)
    gate: choice(none, learned)  taps: range(2, 5), that is 2, 3 or 4, as in Python

The grammar is Hydra 1.3's "Extended Override syntax". A `tag(log, …)` draws on a logarithmic scale.
"""

from collections.abc import Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, QuotedString, RangeSweep
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from dynaxx.search.errors import SearchError

Space = dict[str, BaseDistribution]
"""Dotted key of params.yaml → distribution of its values."""

TUNABLE = ("resonance", "train", "select")
"""Sections of params.yaml that a trial may change. Other sections would change the validation data."""


def read_space(described: Mapping[str, Any]) -> Space:
    """Read a search space from nested sections.

    >>> read_space({"resonance": {"T": "int(interval(1, 10))"}})
    {'resonance.T': IntDistribution(high=10, log=False, low=1, step=1)}

    Raises:
        SearchError: there is nothing to tune, a section must not be tuned, or Hydra or Optuna cannot read the bounds.
    """
    space = {key: _distribution(key, str(text)) for key, text in _leaves(described)}
    if not space:
        raise SearchError("sweep.space is empty; name what to tune, for example resonance.T: int(interval(1, 10))")
    for key in space:
        if key.split(".")[0] not in TUNABLE:
            raise SearchError(f"sweep.space.{key}: a sweep tunes {', '.join(f'{name}.*' for name in TUNABLE)} alone")
    return space


def draw(trial: Trial, space: Space) -> dict[str, Any]:
    """Draw a value for every key of `space` with the sampler of the trial's study."""
    drawn: dict[str, Any] = {}
    for key, distribution in space.items():
        if isinstance(distribution, IntDistribution):
            low, high, step, log = distribution.low, distribution.high, distribution.step, distribution.log
            drawn[key] = trial.suggest_int(key, low, high, step=step, log=log)
        elif isinstance(distribution, FloatDistribution):
            drawn[key] = trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
        elif isinstance(distribution, CategoricalDistribution):
            drawn[key] = trial.suggest_categorical(key, distribution.choices)
    return drawn


def _leaves(node: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in node.items():
        key = f"{path}.{name}" if path else str(name)
        found += _leaves(value, key) if isinstance(value, Mapping) else [(key, value)]
    return found


def _distribution(key: str, text: str) -> BaseDistribution:
    like = "write int(interval(1, 10)), interval(0.3, 1), tag(log, interval(1e-3, 1e-1)), range(2, 5) or choice(a, b)"
    try:
        swept = OverridesParser.create().parse_override(f"{key}={text}").value()
        if isinstance(swept, IntervalSweep):
            kind = IntDistribution if isinstance(swept.start, int) else FloatDistribution
            assert swept.start is not None
            assert swept.end is not None
            return kind(swept.start, swept.end, log="log" in swept.tags)
        if isinstance(swept, RangeSweep):
            return CategoricalDistribution(tuple(swept.range()))
        if isinstance(swept, ChoiceSweep):
            return CategoricalDistribution(tuple(_plain(value) for value in swept.list))
    except (HydraException, ValueError, TypeError) as error:
        raise SearchError(f"sweep.space.{key}={text}: {' '.join(str(error).split())}; {like}") from None
    raise SearchError(f"sweep.space.{key}={text}: is one value, with nothing to tune; {like}")


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, QuotedString) else value
