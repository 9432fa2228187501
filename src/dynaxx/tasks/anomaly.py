"""Anomaly: no label is learned from; evidence per place, and the AUROC of images decides."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dynaxx.data import LabelledImages
from dynaxx.tasks.kind import Kind, TaskError
from dynaxx.tasks.linear import Examples, LinearFit, LinearOptions
from dynaxx.tasks.metric import Metric
from dynaxx.tasks.placements import area, placement_influence, placements
from dynaxx.tasks.segmentation import Segmentation

NORMAL = "good"
"""Name of the class of normal images, the only one that is trained on."""


@dataclass(frozen=True)
class Anomaly(Kind):
    """Images with defects against good ones, by a map of evidence (N, 1, H, W), above 0 where a place is unusual.

    >>> maps = torch.tensor([[[[-1.0, -2.0]]], [[[-3.0, 2.0]]]])
    >>> Anomaly().value(maps, torch.tensor([0, 1]))
    1.0

    Attributes:
        top: share of the pixels, the strangest ones, whose mean is an image's score; 0 takes the maximum.

    Raises:
        TaskError: a share out of [0, 1].
    """

    top: float = 0.0

    name: ClassVar[str] = "anomaly"
    readout: ClassVar[str] = "map"
    probe_readout: ClassVar[str] = "map"
    labels: ClassVar[str] = "classes"
    labelled: ClassVar[bool] = False
    stride: ClassVar[int | None] = 16

    def __post_init__(self) -> None:
        if isinstance(self.top, bool) or not isinstance(self.top, (int, float)) or not 0 <= self.top <= 1:
            raise TaskError(f"task.options.top={self.top!r}: give a number in [0, 1]")

    @property
    def metric(self) -> Metric:
        return Metric("auroc")

    def check(self, data: LabelledImages) -> None:
        if data.kind != "classes" or data.classes[0] != NORMAL:
            raise TaskError(
                f"task=anomaly: the first class is not {NORMAL!r}; give good and defective images, as data=mvtec does"
            )

    def outputs(self, data: LabelledImages) -> int:
        """One map."""
        del data
        return 1

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Nothing is learned from labels."""
        raise TaskError("task=anomaly: no label is learned from; fit the disagreement of the layers")

    def divergence(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of two maps."""
        return (output - target).square().mean()

    def fit_linear(self, train: Examples, val: Examples, options: LinearOptions) -> LinearFit:
        """Nothing is learned from labels."""
        raise TaskError("task=anomaly: no label is learned from; fit the disagreement of the layers")

    def evidence(self, output: Tensor) -> Tensor:
        """The score of each image, (N,): the mean over the strangest share of its pixels, at least one.

        >>> Anomaly(top=0.5).evidence(torch.tensor([[[[1.0, 5.0, 3.0, 2.0]]]]))
        tensor([4.])
        """
        pixels = output.flatten(1)
        return pixels.topk(max(1, round(self.top * pixels.shape[1])), dim=1).values.mean(1)

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        """The placement value of each image among those of the other side, whose mean is the AUROC."""
        return placements(self.evidence(output), target > 0)

    def influence(self, scores: Tensor, target: Tensor) -> Tensor:
        return placement_influence(scores, target > 0)

    def measures(self, output: Tensor, data: LabelledImages) -> dict[str, float]:
        """AUROC of images, of each kind of defect against the good ones, and of pixels where regions are known."""
        evidence, y = self.evidence(output), data.labels
        found = {"auroc": area(evidence, y > 0)}
        for number in range(1, len(data.classes)):
            if bool((y == number).any()):
                among = (y == 0) | (y == number)
                found[f"auroc_{data.classes[number]}"] = area(evidence[among], y[among] > 0)
        if data.regions is not None and bool(data.regions.any()):
            found["pixel_auroc"] = area(output.flatten(), data.regions.flatten() > 0)
        return found

    def predictions(self, output: Tensor) -> Tensor:
        """Unusual pixels, uint8 (N, H, W)."""
        return (output[:, 0] > 0).to(torch.uint8)

    def drawn(self, image: Tensor, answer: Tensor) -> Tensor | None:
        """The image in grey with its unusual pixels in colour; none for a class, which has no place."""
        return Segmentation().drawn(image, answer) if answer.ndim == 2 else None

    def strata(self, labels: Tensor) -> Tensor:
        return labels
