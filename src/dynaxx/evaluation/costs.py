"""What errors cost where they do not all cost the same: prices per class, thresholds, and the cost of each sample.

Shape legend: N samples, M choices (a sample's choices follow each other), C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.statistics import Interval
from dynaxx.tasks import Choices, Metric

PER = 1000
"""Number of requests for which costs are told."""
COST = Metric("cost", higher_is_better=False, unit=f"per {PER:,} requests")
"""The metric that decides where errors have prices."""
PRICE_NAMES = ("missed", "false_alarm")
SWEEPS = 3
"""Times that the thresholds of several classes are chosen in turn."""


@dataclass(frozen=True)
class Prices:
    """Price of a sample of a class that is not recognised as it, and of another one that is taken for it.

    >>> Prices.of({"polyp": {"missed": 100, "false_alarm": 1}}, ("background", "polyp")).missed
    array([  0., 100.])

    An error has both prices: that of the class which was missed, and that of the class which was answered. Where a
    sample holds many choices, as an image holds pixels, each counts as its part of the sample: a price is that of a
    whole image.

    Attributes:
        missed, false_alarm: price per class, (C,).
        moved: numbers of the classes whose threshold is chosen.
    """

    missed: NDArray[np.float64]
    false_alarm: NDArray[np.float64]
    moved: tuple[int, ...]

    @classmethod
    def of(cls, costs: Any, classes: tuple[str, ...]) -> "Prices":
        """The prices of `evaluate.costs`: per class, or one number for every error.

        Raises:
            EvaluationError: an unknown class or kind of error, or a price that is not a number of at least 0.
        """
        check_costs(costs)
        if not isinstance(costs, Mapping):
            # between two classes a threshold has to be found where the scores do not have one of their own
            moved = (1,) if len(classes) == 2 else ()
            return cls(np.full(len(classes), float(costs)), np.zeros(len(classes)), moved)
        if unknown := [str(name) for name in costs if str(name) not in classes]:
            raise EvaluationError(f"evaluate.costs.{unknown[0]}: no such class; there are {', '.join(classes)}")
        given = {str(name): prices for name, prices in costs.items()}
        missed, false_alarm = (
            np.array([float(given.get(name, {}).get(price, 0.0)) for name in classes]) for price in PRICE_NAMES
        )
        return cls(missed, false_alarm, tuple(n for n, name in enumerate(classes) if name in given))


def check_costs(costs: Any) -> None:
    """Check `evaluate.costs` as far as this needs no classes.

    >>> check_costs({"polyp": {"missed": 100, "false_alarm": 1}})

    Raises:
        EvaluationError: it is neither a number of at least 0 nor a mapping from classes to prices.
    """
    if _is_price(costs):
        return
    if not isinstance(costs, Mapping) or not costs:
        raise EvaluationError(
            f"evaluate.costs={costs!r}: give the price of an error, or prices per class, as "
            "{polyp: {missed: 100, false_alarm: 1}}"
        )
    for name, prices in costs.items():
        if not isinstance(prices, Mapping) or not prices or (set(map(str, prices)) - set(PRICE_NAMES)):
            raise EvaluationError(f"evaluate.costs.{name}={prices!r}: give {' and '.join(PRICE_NAMES)}, or one of them")
        for price, value in prices.items():
            if not _is_price(value):
                raise EvaluationError(f"evaluate.costs.{name}.{price}={value!r}: give a number of at least 0")


@dataclass(frozen=True)
class ArmCosts:
    """What the errors of one arm cost on the test samples."""

    per_1000: Interval
    """Cost of 1,000 requests, mean over seeds, with its confidence interval."""
    thresholds: dict[str, list[float]]
    """Class → for each seed, how much larger its log-score has to be than the best other's (see `thresholds`)."""
    validation_per_seed: list[float]
    """Cost of 1,000 requests on the validation samples, on which the thresholds were chosen."""
    plain: float
    """Cost of 1,000 requests if the class with the largest score were answered instead."""


def thresholds(choices: Choices, prices: Prices) -> NDArray[np.float64]:
    """How much larger a class's log-score has to be than the best other's to be answered, (C,); 0 is the plain answer.

    >>> thresholds(validation_choices, Prices.of({"polyp": {"missed": 100, "false_alarm": 1}}, classes))
    array([ 0. , -3.1])

    The threshold of a class minimises the cost of these choices; all cut points are tried. Among equally cheap ones the
    nearest to 0 is taken, in the middle between two scores. With several classes they are chosen in turn.
    """
    scores_MC, labels = choices.scores.numpy(), choices.labels.numpy()
    asked = np.zeros(scores_MC.shape[1])
    for _ in range(SWEEPS if len(prices.moved) > 1 else 1):
        for number in prices.moved:
            margin_M, other_M = _margins(scores_MC - asked, number)
            margin_M = margin_M + asked[number]
            asked[number] = _cheapest_cut(
                margin_M, _prices_of(number, labels, prices), _prices_of(other_M, labels, prices)
            )
    return asked


def sample_costs(choices: Choices, prices: Prices, asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cost of the answers to each sample, (N,), with thresholds `asked` (C,)."""
    answers_M = (choices.scores.numpy() - asked).argmax(axis=1)
    return _prices_of(answers_M, choices.labels.numpy(), prices).reshape(choices.samples, -1).mean(axis=1)


def _prices_of(answers: NDArray[np.int64] | int, labels_M: NDArray[np.int64], prices: Prices) -> NDArray[np.float64]:
    answers_M = np.broadcast_to(answers, labels_M.shape)
    return np.where(answers_M == labels_M, 0.0, prices.missed[labels_M] + prices.false_alarm[answers_M])


def _margins(scores_MC: NDArray[np.float64], number: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How much larger each score of a class is than the best other one, and which class that is."""
    others = np.delete(np.arange(scores_MC.shape[1]), number)
    best_M = others[scores_MC[:, others].argmax(axis=1)]
    return scores_MC[:, number] - scores_MC[np.arange(len(scores_MC)), best_M], best_M


def _cheapest_cut(
    margin_M: NDArray[np.float64], as_class_M: NDArray[np.float64], as_other_M: NDArray[np.float64]
) -> float:
    """The cut at which answering the class above it, and another below it, costs least."""
    ordered, where = np.unique(margin_M, return_inverse=True)
    above = np.bincount(where, weights=as_class_M)
    below = np.bincount(where, weights=as_other_M)
    # with the cut under the n-th of the distinct margins
    costs = np.append(np.cumsum(above[::-1])[::-1], 0.0) + np.append(0.0, np.cumsum(below))
    middles = (ordered[:-1] + ordered[1:]) / 2
    cuts = np.concatenate([[min(ordered[0] - 1.0, 0.0)], middles, [max(ordered[-1] + 1.0, 0.0)]])
    # the plain cut is as good as the interval between margins that it lies in
    cuts[np.searchsorted(ordered, 0.0, side="left")] = 0.0
    cheapest = np.flatnonzero(costs <= costs.min() + 1e-9 * max(1.0, abs(float(costs.min()))))
    return float(cuts[cheapest[np.abs(cuts[cheapest]).argmin()]])


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
