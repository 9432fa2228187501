"""How far what a source says has to get: from a click to the end of its object, through the object.

Shape suffixes: N images, H, W positions of the grid of messages.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.data import LabelledImages

FAR = 4
"""Steps from which one pass of two or three convolutions does not reach."""
STRIDE = 2
"""Pixels of a step where no grid is given."""


@dataclass(frozen=True)
class Travel:
    """Steps of the grid between a source and the farthest position of its label, over images.

    >>> Travel(median=9.0, most=31.0).far
    True

    Attributes:
        median: steps in the median image.
        most: steps that nine of ten images do not exceed.
    """

    median: float
    most: float

    @property
    def far(self) -> bool:
        """Whether a pass of a few layers falls short in half of the images."""
        return self.median >= FAR


def travel(images: LabelledImages, grid: tuple[int, int] | None = None) -> Travel | None:
    """How far information has to travel in these images; None where nothing is given that has to.

    That is so for masks with a source of the image's size, such as a click: only the source says which of the things
    that look alike is meant, and it says so in one place. A mask without a source asks every position about itself.

    >>> travel(LabelledImages(pixels, masks, ("background", "cell"), sources={"click": clicks})).median
    24.0

    Args:
        grid: height and width of the grid of messages; None: half of the image's.
    """
    if images.kind != "masks" or not images.sources or not len(images):
        return None
    height, width = grid or (max(1, images.labels.shape[1] // STRIDE), max(1, images.labels.shape[2] // STRIDE))
    inside = F.adaptive_max_pool2d((images.labels > 0).float()[:, None], (height, width)) > 0
    given = torch.cat([source.float() for source in images.sources.values()], dim=1).amax(1, keepdim=True)
    start = (F.adaptive_max_pool2d(given, (height, width)) > 0) & inside
    steps = steps_within(inside[:, 0], start[:, 0]).float()
    return Travel(float(steps.median()), float(steps.quantile(0.9)))


def steps_within(inside_NHW: Tensor, start_NHW: Tensor) -> Tensor:
    """Steps from the start to the farthest position that can be reached inside, diagonal ones included; int64 (N,).

    >>> row = torch.tensor([[[True, True, True, False, True]]])
    >>> steps_within(row, row & (torch.arange(5) == 0))
    tensor([2])
    """
    reached, steps = start_NHW.float()[:, None], torch.zeros(len(start_NHW), dtype=torch.int64)
    inside = inside_NHW.float()[:, None]
    while True:
        wider = F.max_pool2d(reached, 3, 1, 1) * inside
        grew = (wider != reached).flatten(1).any(1)
        if not bool(grew.any()):
            return steps
        steps += grew.long()
        reached = wider
