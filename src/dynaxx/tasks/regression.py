"""Regression: a label is a number or several, the RMSE in the label's unit decides."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from dynaxx.backbone import moments
from dynaxx.data import LabelledImages
from dynaxx.tasks.kind import Kind, TaskError
from dynaxx.tasks.linear import Examples, LinearFit, LinearOptions, fit_ridge
from dynaxx.tasks.metric import Metric


@dataclass(frozen=True)
class Regression(Kind):
    """One or more numbers per image, by squared error in deviations of the training labels.

    >>> Regression(unit="mm").value(torch.tensor([[1.0], [5.0]]), torch.tensor([[1.0], [2.0]]))
    2.1213203435596424

    Attributes:
        unit: unit of the label, for pages.
        scale: deviation of each column of the training labels; `fitted` sets it.
    """

    unit: str = ""
    scale: tuple[float, ...] = ()

    name: ClassVar[str] = "regression"
    labels: ClassVar[str] = "numbers"
    readout: ClassVar[str] = "moments"
    probe_readout: ClassVar[str] = "moments"

    @property
    def metric(self) -> Metric:
        return Metric("rmse", higher_is_better=False, root=True, unit=self.unit)

    def check(self, data: LabelledImages) -> None:
        if data.kind != self.labels:
            raise TaskError("task=regression: the labels are no numbers; give data with numbers, as data=table")

    def outputs(self, data: LabelledImages) -> int:
        return data.labels.shape[1]

    def fitted(self, labels: Tensor) -> "Regression":
        """The kind with the scale of these labels."""
        return dataclasses.replace(self, scale=tuple(moments([[labels[:, None]]])[0][1].tolist()))

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        scale = output.new_tensor(self.scale or (1.0,))
        return F.mse_loss(output / scale, target.to(output) / scale)

    def divergence(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean squared difference, in deviations of the training labels."""
        return self.loss(output, target)

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        """The squared error of each sample, the mean over its numbers."""
        return (output.double() - target.double()).square().mean(1)

    def measures(self, output: Tensor, data: LabelledImages) -> dict[str, float]:
        """RMSE, MAE, and the share of the variance that is explained (R²)."""
        from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

        found = {
            "rmse": mean_squared_error(output, data.labels, squared=False),
            "mae": mean_absolute_error(output, data.labels),
        }
        if len(output) > 1:
            found["r2"] = r2_score(output, data.labels)
        return {name: float(value) for name, value in found.items()}

    def coded(self, labels: Tensor, outputs: int, grid: Sequence[int] = ()) -> Tensor:
        del outputs, grid
        return labels

    def numbers(self, labels: Tensor) -> Tensor:
        return labels

    def predictions(self, output: Tensor) -> Tensor:
        return output

    def fit_linear(self, train: Examples, val: Examples, options: LinearOptions) -> LinearFit:
        return fit_ridge(train, val, penalties=options.penalties)
