"""Costs of errors of a whole evaluation: thresholds from validation samples, costs on test samples.

Shape legend: S seeds, N test samples, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaxx.data import LabelledImages
from dynaxx.evaluation.costs import COST, PER, ArmCosts, Prices, sample_costs, thresholds
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.statistics.paired import paired_bootstrap
from dynaxx.training.cache.store import AnchorStore


@dataclass(frozen=True)
class Pricing:
    """Prices of errors, and the samples that they are for.

    >>> pricing = Pricing.open({"polyp": {"missed": 100, "false_alarm": 1}}, judge, validation)
    >>> pricing.costs(output, pricing.thresholds(0, model)[0]).shape
    (120,)

    Attributes:
        prices: price of each kind of error.
        classes: names of the classes, (C,).
        judge: judge of the test samples.
        validation: seed → its validation samples.
        anchors: function from images to their anchors, from which all arms answer; None where there can be none.
    """

    prices: Prices
    classes: tuple[str, ...]
    judge: Judge
    validation: Callable[[int], LabelledImages]
    anchors: Callable[[Tensor], AnchorStore | None] = lambda images: None
    _judges: dict[int, Judge] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        costs: Any,
        judge: Judge,
        validation: Callable[[int], LabelledImages] | None,
        anchors: Callable[[Tensor], AnchorStore | None] = lambda images: None,
    ) -> "Pricing | None":
        """The pricing of `evaluate.costs`; None if there is none.

        Raises:
            EvaluationError: the costs do not fit the task, or there are no validation samples.
        """
        if costs is None:
            return None
        if validation is None:
            raise EvaluationError(f"evaluate.costs={costs!r}: thresholds need validation samples; give `validation`")
        classes = judge.kind.priced(judge.data)
        if not classes:
            raise EvaluationError(f"evaluate.costs={costs!r}: a task of {judge.kind.name} has no classes; give null")
        return cls(Prices.of(costs, classes), classes, judge, validation, anchors)

    def thresholds(self, seed: int, model: nn.Module) -> tuple[NDArray[np.float64], float]:
        """The thresholds (C,) that cost this model least on the validation samples of its seed, and that cost."""
        if seed not in self._judges:
            data = self.validation(seed)
            self._judges[seed] = self.judge.of(data, self.anchors(data.images))
        judge = self._judges[seed]
        choices = judge.kind.choices(judge.outputs(model), judge.data)
        assert choices is not None
        asked = thresholds(choices, self.prices)
        return asked, PER * float(sample_costs(choices, self.prices, asked).mean())

    def costs(self, output: Tensor, asked: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cost of 1,000 requests like each test sample, (N,), by outputs (N, …) and thresholds (C,)."""
        choices = self.judge.kind.choices(output, self.judge.data)
        assert choices is not None
        return PER * sample_costs(choices, self.prices, asked)

    def result(
        self,
        costs_SN: NDArray[np.float64],
        plain_SN: NDArray[np.float64],
        chosen: Sequence[tuple[NDArray[np.float64], float]],
    ) -> ArmCosts:
        """What the errors of one arm cost.

        Args:
            costs_SN: cost of 1,000 requests like each test sample.
            plain_SN: the same without thresholds.
            chosen: thresholds of each seed, and their cost on its validation samples.
        """
        total = replace(COST, higher_is_better=True)  # the cost itself, not what is saved
        return ArmCosts(
            paired_bootstrap(costs_SN, np.zeros_like(costs_SN), total, self.judge.groups, **self.judge.bootstrap),
            {self.classes[n]: [float(asked[n]) for asked, _ in chosen] for n in self.prices.moved},
            [cost for _, cost in chosen],
            float(plain_SN.mean()),
        )
