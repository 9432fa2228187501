"""The metric that decides a task: from one score per sample to one number, and which of two numbers is better.

Shape legend: S seeds, N samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Metric:
    """A mean over samples, or the root of one.

    >>> Metric("rmse", higher_is_better=False, root=True, unit="mm").of([9.0, 25.0, 2.0])
    3.4641016151377544

    Every metric that decides is of this form, so that samples and groups of samples can be resampled: accuracy is the
    mean of 0 and 1, an RMSE the root of the mean squared error, an AUROC the mean of placement values (DeLong, DeLong
    and Clarke-Pearson 1988).

    Attributes:
        name: name of the metric in files and pages, such as `accuracy`.
        higher_is_better: whether a larger number is better.
        root: whether the metric is the square root of the scores' mean.
        unit: unit of the number; empty for a fraction, which pages show in points.
    """

    name: str
    higher_is_better: bool = True
    root: bool = False
    unit: str = ""

    @property
    def on_validation(self) -> str:
        """The name under which its value on validation samples is logged.

        >>> Metric("rmse", higher_is_better=False).on_validation
        'val/rmse'
        """
        return f"val/{self.name}"

    def of(self, scores: ArrayLike) -> float:
        """The metric of one model from its samples' scores, (N,); of several seeds (S, N), the mean over the seeds."""
        values = np.asarray(scores, dtype=np.float64).mean(axis=-1)
        return float(np.mean(np.sqrt(values) if self.root else values))

    def gain(self, a: float, b: float) -> float:
        """How much better `a` is than `b`, in the metric's unit.

        >>> Metric("rmse", higher_is_better=False).gain(0.25, 0.5)
        0.25
        """
        return a - b if self.higher_is_better else b - a

    def oriented(self, value: float) -> float:
        """The value with the sign with which larger is better, for early stopping and Optuna."""
        return value if self.higher_is_better else -value
