"""Segmentation: a label is a mask, the IoU per image decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.data import LabelledImages
from dynaxx.tasks.choices import Choices
from dynaxx.tasks.information import bits_of_classes
from dynaxx.tasks.kind import Kind, TaskError, check_choice
from dynaxx.tasks.linear import Examples, LinearFit, LinearOptions, fit_positions
from dynaxx.tasks.metric import Metric

DECIDING = ("iou", "dice")
TAKEN = (0.6, 0.8, 1.0, 1.25, 1.6)
"""Numbers of positions taken for foreground, relative to the true one."""
COLOURS = ((255, 140, 0), (0, 120, 255), (0, 180, 90), (200, 0, 120))
"""Red, green and blue of the classes in pictures, in turn."""


@dataclass(frozen=True)
class Segmentation(Kind):
    """A class per pixel, 0 being the background; by cross-entropy plus soft Dice.

    >>> logits, mask = torch.tensor([[[[3.0, -3.0]]]]), torch.tensor([[[1, 1]]], dtype=torch.uint8)
    >>> Segmentation().value(logits, mask)
    0.5

    Attributes:
        decides: `iou` or `dice`, of each image, the mean over its classes besides the background.

    Raises:
        TaskError: another metric.
    """

    decides: str = "iou"

    name: ClassVar[str] = "segmentation"
    labels: ClassVar[str] = "masks"
    readout: ClassVar[str] = "map"
    probe_readout: ClassVar[str] = "map"
    own_head: ClassVar[bool] = True
    stride: ClassVar[int | None] = 8

    def __post_init__(self) -> None:
        check_choice("decides", self.decides, DECIDING)

    @property
    def metric(self) -> Metric:
        return Metric(self.decides)

    def check(self, data: LabelledImages) -> None:
        if data.kind != self.labels:
            raise TaskError(f"task={self.name}: the labels are no masks; give data with masks, as data=masks")

    def outputs(self, data: LabelledImages) -> int:
        """1 logit for a foreground, else one for each class with the background."""
        return 1 if len(data.classes) <= 2 else len(data.classes)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        shares = one_hot(target, output.shape[1])
        if output.shape[1] == 1:
            entropy, p = F.binary_cross_entropy_with_logits(output, shares), output.sigmoid()
        else:
            entropy, p = F.cross_entropy(output, target.long()), output.softmax(1)
            shares, p = shares[:, 1:], p[:, 1:]
        both, sums = (p * shares).sum((2, 3)), (p + shares).sum((2, 3))
        dice = (2 * both + 1) / (sums + 1)
        return entropy + 1 - dice.mean()

    def divergence(self, output: Tensor, target: Tensor) -> Tensor:
        """The Kullback-Leibler divergence of the classes' probabilities of a pixel, the mean over pixels."""
        given, taught = (_log_probabilities(logits) for logits in (output, target))
        return F.kl_div(given, taught, log_target=True, reduction="none").sum(1).mean()

    def scores(self, output: Tensor, target: Tensor) -> Tensor:
        """IoU or Dice of each image, the mean over the classes that it shows or that are predicted; 1 without any."""
        found, truth = self.predictions(output), target
        per_class = []
        for number in range(1, max(2, output.shape[1])):
            a, b = (found == number).flatten(1), (truth == number).flatten(1)
            both, either = (a & b).sum(1).double(), (a | b).sum(1).double()
            of = either if self.decides == "iou" else (a.sum(1) + b.sum(1)).double() / 2
            per_class.append(torch.where(either > 0, both / of.clamp_min(1e-9), torch.nan))
        return torch.stack(per_class).nanmean(0).nan_to_num(nan=1.0)

    def measures(self, output: Tensor, data: LabelledImages) -> dict[str, float]:
        """IoU and Dice per image, and the share of right pixels."""
        found = self.predictions(output)
        return {
            "iou": Segmentation("iou").value(output, data.labels),
            "dice": Segmentation("dice").value(output, data.labels),
            "pixel_accuracy": float((found == data.labels).double().mean()),
        }

    def priced(self, data: LabelledImages) -> tuple[str, ...]:
        """The background, by this name if the data have none for it, and the other classes."""
        number = max(2, self.outputs(data))
        return data.classes if len(data.classes) == number else ("background", *data.classes)

    def choices(self, output: Tensor, data: LabelledImages) -> Choices:
        """One choice per pixel."""
        scores = _log_probabilities(output.double()).movedim(1, -1).flatten(0, 2)
        return Choices(scores, data.labels.flatten().long(), self.priced(data), len(output))

    def drawn(self, image: Tensor, answer: Tensor) -> Tensor:
        """The image in grey, its classes in colours."""
        grey = image.float().mean(0)[..., None].expand(-1, -1, 3)
        colours = grey.new_tensor(COLOURS)[(answer.long() - 1).clamp_min(0) % len(COLOURS)]
        shown = torch.where((answer > 0)[..., None], 0.5 * grey + 0.5 * colours, grey)
        return shown.round().to(torch.uint8)

    def predictions(self, output: Tensor) -> Tensor:
        """Class of each pixel, uint8 (N, H, W)."""
        found = output[:, 0] > 0 if output.shape[1] == 1 else output.argmax(1)
        return found.to(torch.uint8)

    def coded(self, labels: Tensor, outputs: int, grid: Sequence[int] = ()) -> Tensor:
        """Share of each class in the cell of each position, (N, P, K); of the foreground alone for K = 1."""
        return cell_shares(labels, outputs, grid)

    def coded_scores(self, predicted: Tensor, coded: Tensor) -> Tensor:
        """IoU or Dice of each image on the grid.

        Least squares pulls weak predictions to their mean, below one half everywhere where the foreground is small. So
        of one foreground that number of positions is taken, over all images, with which the mean score is best, among
        TAKEN times the true number.
        """
        maps, truth = (x.transpose(1, 2)[..., None] for x in (predicted, coded))  # (N, K, P, 1)
        if coded.shape[2] > 1:
            return self.scores(maps, truth.argmax(1).to(torch.uint8))
        target = (truth[:, 0] > 0.5).to(torch.uint8)
        ranked = maps.flatten().sort(descending=True).values
        counts = [min(round(factor * int(target.sum())), len(ranked) - 1) for factor in TAKEN]
        return max(
            (self.scores(maps - ranked[count], target) for count in counts), key=lambda found: float(found.mean())
        )

    def bits(self, predicted: Tensor, coded: Tensor) -> float:
        """Bits a position."""
        predicted, coded = predicted.flatten(0, 1), coded.flatten(0, 1)
        if coded.shape[1] == 1:
            predicted, coded = (torch.cat([1 - x, x], dim=1) for x in (predicted, coded))
        return bits_of_classes(predicted, coded)

    def served(self, output: Tensor) -> Tensor:
        """The probability of each class in each pixel, (N, K, H, W); for one logit, that of the foreground."""
        return output.sigmoid() if output.shape[1] == 1 else output.softmax(1)

    def fit_linear(self, train: Examples, val: Examples, options: LinearOptions) -> LinearFit:
        (train_x, train_y), (val_x, val_y) = train, val
        height, width = options.grid
        target = cell_shares(train_y, options.outputs, (height, width))

        def value(logits: Tensor) -> float:
            maps = logits.float().transpose(1, 2).unflatten(2, options.grid)
            return self.value(upsampled(maps, val_y.shape[1:]), val_y)

        return fit_positions(train_x, target, val_x, penalties=options.penalties, value=value)


def one_hot(target: Tensor, outputs: int) -> Tensor:
    """Float (B, K, H, W): 1 where a pixel has the class; for K = 1, where it is foreground.

    >>> one_hot(torch.tensor([[[0, 2]]]), 3)[0, :, 0].T
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    if outputs == 1:
        return (target > 0).float().unsqueeze(1)
    return F.one_hot(target.long(), outputs).movedim(-1, 1).float()


def _log_probabilities(output: Tensor) -> Tensor:
    """Log-probabilities of all classes, (B, K, H, W); the background of one logit's foreground comes first."""
    logits = torch.cat([torch.zeros_like(output), output], dim=1) if output.shape[1] == 1 else output
    return logits.log_softmax(1)


def cell_shares(target: Tensor, outputs: int, grid: Sequence[int]) -> Tensor:
    """Share of each class in the cell of each position, (N, P, K); for K = 1, of the foreground.

    >>> cell_shares(torch.tensor([[[0, 1], [1, 1]]]), 1, (1, 1))
    tensor([[[0.7500]]])
    """
    height, width = grid
    return F.adaptive_avg_pool2d(one_hot(target, outputs), (height, width)).flatten(2).transpose(1, 2)


def upsampled(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, K, h, w) at another size, bilinear.

    >>> upsampled(torch.zeros(2, 1, 7, 7), (28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
