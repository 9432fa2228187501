"""A small residual network for small images, used as the backbone when the user has no trained model."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016), which is a projection if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """Stem, stages `layer1 … layerN` (each but the first halves the resolution), average pool, linear `fc`.

    >>> SmallResNet(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Args:
        num_classes: number of outputs.
        in_channels: number of channels of the images.
        widths: number of channels of each stage.
        blocks: number of residual blocks per stage.
        regions: number of rows and columns into which the last feature map is divided; `fc` reads the mean of each
            region. 1 averages the whole map; other values must divide the map's height and width.

    Raises:
        ValueError: a width, `blocks` or `regions` is below 1, or there is no stage.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 2,
        regions: int = 1,
    ) -> None:
        super().__init__()
        for name, value in (("blocks", blocks), ("regions", regions), *(("widths", width) for width in widths)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: give whole numbers of at least 1")
        if not widths:
            raise ValueError(f"widths={list(widths)}: give a width for each stage")
        self.regions = regions
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = len(widths)
        before = widths[0]
        for number, width in enumerate(widths, start=1):
            first = Block(before, width, stride=1 if number == 1 else 2)
            rest = [Block(width, width, stride=1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            before = width
        self.fc = nn.Linear(before * regions**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, self.stages + 1):
            h = self.get_submodule(f"layer{number}")(h)
        return self.fc(self._averaged(h))

    def _averaged(self, h: Tensor) -> Tensor:
        """The mean of each region of the feature map, (B, C · regions²)."""
        # not adaptive_avg_pool2d: its gradient on CUDA is not deterministic, which the trainers require
        return h.unflatten(3, (self.regions, -1)).unflatten(2, (self.regions, -1)).mean((3, 5)).flatten(1)
