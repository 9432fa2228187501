"""What is drawn as a whole: a sample, or a group of samples, with the sums that a metric needs of it.

Shape legend: S seeds, N samples, U units, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.tasks import Metric

Groups = Sequence[str] | NDArray[np.int64]
"""The group of each sample, by name or number; empty if samples stand alone."""


def unit_numbers(groups: Groups, samples: int) -> NDArray[np.int64]:
    """Number of the unit of each sample, (N,): of its group, or of the sample itself where there are no groups.

    >>> unit_numbers(("tile 2", "tile 1", "tile 2"), samples=3)
    array([1, 0, 1])

    Raises:
        EvaluationError: there are groups, and not one for each sample.
    """
    if len(groups) == 0:
        return np.arange(samples)
    if len(groups) != samples:
        raise EvaluationError(f"groups: {len(groups)} for {samples} samples; give one for each sample, or none")
    return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Sums:
    """Sums of two arms' scores over each unit: enough for the gain of any draw of units.

    >>> sums = Sums.of(np.array([[1.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]), Metric("accuracy"), ("a", "a", "b"))
    >>> sums.gain(np.array([0, 1]))
    array(0.33333333)

    Attributes:
        table_UK: the last column is the number of the unit's samples. The columns before it: of a mean the differences,
            summed over seeds; of a root the scores of `a` for each seed, then those of `b`.
        seeds: number S of seeds.
        metric: the metric whose gain is asked for.
    """

    table_UK: NDArray[np.float64]
    seeds: int
    metric: Metric

    @classmethod
    def of(cls, a_SN: NDArray[np.float64], b_SN: NDArray[np.float64], metric: Metric, groups: Groups = ()) -> "Sums":
        """Sum the scores of both arms over the samples of each unit."""
        units = unit_numbers(groups, a_SN.shape[1])
        # Of a mean the differences suffice. Whole numbers in float64 add up exactly in any order, and BCa counts ties.
        columns = [*a_SN, *b_SN] if metric.root else [(a_SN - b_SN).sum(axis=0)]
        summed = [np.bincount(units, weights=column) for column in columns]
        return cls(np.column_stack([*summed, np.bincount(units)]).astype(np.float64), len(a_SN), metric)

    def gain(self, drawn: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        """The gain of `a` over `b` for each draw of units, whose numbers lie along `axis`."""
        drawn_RU = np.moveaxis(drawn, axis, -1)
        rows = drawn_RU.reshape(-1, drawn_RU.shape[-1])
        units = len(self.table_UK)
        flat = (rows + units * np.arange(len(rows))[:, None]).ravel()
        times_RU = np.bincount(flat, minlength=units * len(rows)).reshape(len(rows), units)
        return self._of(times_RU.astype(np.float64) @ self.table_UK).reshape(drawn_RU.shape[:-1])

    @property
    def plain(self) -> bool:
        """Whether every unit is one sample and the metric a mean of scores, so that the gain is a mean of numbers."""
        return not self.metric.root and bool((self.table_UK[:, -1] == 1).all())

    @property
    def without_each(self) -> NDArray[np.float64]:
        """The gain without each unit in turn, (U,); empty for a single unit."""
        return self._of(self.table_UK.sum(axis=0) - self.table_UK) if len(self.table_UK) > 1 else np.empty(0)

    def _of(self, totals_RK: NDArray[np.float64]) -> NDArray[np.float64]:
        scores, samples = totals_RK[:, :-1], totals_RK[:, -1:]
        if self.metric.root:  # a difference of tiny numbers may leave one just below zero
            roots = np.sqrt(np.maximum(scores / samples, 0.0))
            difference = roots[:, : self.seeds].mean(axis=1) - roots[:, self.seeds :].mean(axis=1)
        else:
            difference = scores[:, 0] / (self.seeds * samples[:, 0])
        return difference if self.metric.higher_is_better else -difference
