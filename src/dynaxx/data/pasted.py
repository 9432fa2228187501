"""Made-up defects: a piece of a normal image pasted elsewhere in it (CutPaste; Li, Sohn, Yoon and Pfister, CVPR 2021).

They stand in for defects where none is labelled: to choose between detectors, never to judge one.
"""

import torch
from torch import Tensor

AREA = (0.005, 0.035)
"""Smallest and largest share of the image that a piece covers."""
ASPECT = 3.0
"""Largest ratio of its sides."""
BRIGHTNESS = (0.7, 1.3)
"""Smallest and largest factor of its pixel values."""


def pasted(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The images with one piece of each pasted at another place of it, and masks of these places.

    >>> images, regions = pasted(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), seed=0)
    >>> images.shape, regions.shape, regions.dtype
    (torch.Size([2, 3, 32, 32]), torch.Size([2, 32, 32]), torch.uint8)

    Args:
        images: pixels, uint8 (N, C, H, W).
        seed: the same seed gives the same pieces.
    """
    generator = torch.Generator().manual_seed(seed)
    count, _, height, width = images.shape
    found, regions = images.clone(), torch.zeros(count, height, width, dtype=torch.uint8)

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    def below(number: int) -> int:
        return int(torch.randint(max(number, 1), (), generator=generator))

    for image, source, region in zip(found, images, regions, strict=True):
        area, ratio = between(*AREA) * height * width, ASPECT ** between(-1.0, 1.0)
        rows = min(max(round((area * ratio) ** 0.5), 1), height)
        columns = min(max(round((area / ratio) ** 0.5), 1), width)
        top, left, to_top, to_left = (below(side) for side in (height - rows, width - columns) * 2)
        piece = source[:, top : top + rows, left : left + columns].float() * between(*BRIGHTNESS)
        image[:, to_top : to_top + rows, to_left : to_left + columns] = piece.round().clamp(0, 255).to(torch.uint8)
        region[to_top : to_top + rows, to_left : to_left + columns] = 1
    return found, regions
