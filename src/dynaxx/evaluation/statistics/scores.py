"""Scores of one arm on the test samples, in the form that the statistics take.

Shape legend: S seeds, N test samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaxx.tasks import Metric


@dataclass(frozen=True)
class Scores:
    """One score per seed and sample; the metric is their mean, or the root of it.

    >>> Scores.of(np.array([[True, False]])).binary
    True

    Attributes:
        values: the scores, (S, N).
        influence: scores with the same mean whose scatter over samples is the metric's variance, (S, N). They differ
            from `values` where a sample also changes the scores of others, as in an AUROC.
    """

    values: NDArray[np.float64]
    influence: NDArray[np.float64]

    @classmethod
    def of(cls, values: Any) -> "Scores":
        """The scores themselves, or an array of them whose samples are scored independently of each other."""
        if isinstance(values, Scores):
            return values
        return cls(values, values)

    @classmethod
    def joined(cls, some: Sequence["Scores"]) -> "Scores":
        """The seeds of several scores of the same samples, one after the other."""
        return cls(np.concatenate([one.values for one in some]), np.concatenate([one.influence for one in some]))

    @property
    def binary(self) -> bool:
        """Whether every score is 0 or 1, as of answers that are right or wrong."""
        return bool(np.isin(self.values, (0, 1)).all())

    @property
    def answers(self) -> NDArray[np.bool_]:
        """Whether each answer is right, of scores that are 0 or 1."""
        return self.values.astype(bool)

    def per_seed(self, metric: Metric) -> list[float]:
        """The metric of each seed."""
        return [metric.of(row) for row in self.values]
