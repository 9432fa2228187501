"""A network whose last layer has lost what an early one knows, and images whose label is that."""

import torch
from torch import Tensor, nn

from dynaxx.data import LabelledImages


def images(count: int) -> LabelledImages:
    """The label is the sign of a checkerboard that averaging over 2x2 wipes out."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1
    pixels = (
        128 + 40 * board * (2 * labels[:, None, None] - 1) + torch.randint(-30, 30, (count, 8, 8), generator=generator)
    )
    return LabelledImages(pixels[:, None].to(torch.uint8), labels, ("minus", "plus"))


class Forgetful(nn.Module):
    """Stem, a layer that sees the checkerboard, and two behind an average pool that cannot."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        stem = nn.Conv2d(1, 2, 1)
        sees = nn.Sequential(nn.Conv2d(2, 4, 2, stride=2), nn.ReLU())
        blind = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(4, 5, 1), nn.ReLU())
        last = nn.Sequential(Shuffle(), nn.Conv2d(5, 6, 1), nn.ReLU())
        self.parts = nn.Sequential(stem, sees, blind, last)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.parts(x).mean((2, 3)))


class Shuffle(nn.Module):
    """Keeps of every channel only whether the image exists: the mean over the batch's constant part."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x) + torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
