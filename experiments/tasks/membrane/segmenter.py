"""A small fully convolutional network, in place of a user's trained segmenter."""

import torch.nn.functional as F
from torch import Tensor, nn

from dynaxx.training.small_resnet import Block


class SmallSegmenter(nn.Module):
    """Stem and `layer1` in full resolution, `layer2` in half, `layer3` in a quarter, `layer4` in half, linear `fc`.

    Images (B, C, H, W) give logits (B, H / 2, W / 2, classes); H and W are multiples of 4.

    >>> SmallSegmenter()(torch.zeros(1, 1, 64, 64)).shape
    torch.Size([1, 32, 32, 2])
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2 = Block(16, 16, stride=1), Block(16, 32, stride=2)
        self.layer3, self.layer4 = Block(32, 64, stride=2), Block(64, 32, stride=1)
        self.fc = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = self.layer3(self.layer2(self.layer1(h)))
        h = self.layer4(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return self.fc(h.permute(0, 2, 3, 1))


def enlarged(logits_BHWK: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge channels-last logits to (B, classes, H, W) with (H, W) = `size`."""
    return F.interpolate(logits_BHWK.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=False)
