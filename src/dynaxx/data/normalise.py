"""Conversion of stored pixels to a network's input."""

from typing import NamedTuple

import torch
from torch import Tensor

from dynaxx.data.errors import DataError

PIXELS = 2**22
"""Number of pixels in a batch, about: 256 images of 128², 83 of 224²."""
LARGEST, SMALLEST = 256, 8
"""Bounds of the number of images in a batch."""


class Normalisation(NamedTuple):
    """Mean and standard deviation per channel, in units of [0, 1].

    >>> Normalisation(mean=(0.5,), std=(0.25,))
    Normalisation(mean=(0.5,), std=(0.25,))
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def normalise(images_uint8: Tensor, normalisation: Normalisation) -> Tensor:
    """(x / 255 - mean) / std per channel; a std of 0 (a constant channel) counts as 1.

    >>> normalise(torch.full((1, 1, 1), 255, dtype=torch.uint8), Normalisation(mean=(0.5,), std=(0.25,)))
    tensor([[[2.]]])

    Args:
        images_uint8: pixels, uint8 (C, H, W) or (B, C, H, W).
        normalisation: one mean and one standard deviation per channel.

    Returns:
        Normalised images, float32, of the same shape.

    Raises:
        DataError: pixels that are not uint8, a wrong number of channels, a mean or std that is not finite, or a
            negative std.
    """
    if images_uint8.dtype != torch.uint8 or images_uint8.ndim not in (3, 4):
        raise DataError(
            f"images must be uint8 of shape (C, H, W) or (B, C, H, W), "
            f"got {images_uint8.dtype} of shape {tuple(images_uint8.shape)}"
        )
    mean, std = normalisation
    shift = torch.tensor(list(mean), dtype=torch.float32, device=images_uint8.device)
    scale = torch.tensor(list(std), dtype=torch.float32, device=images_uint8.device)
    channels = images_uint8.shape[-3]
    if len(shift) != channels or len(scale) != channels:
        raise DataError(f"mean and std must have {channels} channels, got {list(mean)} and {list(std)}")
    if not (shift.isfinite().all() and scale.isfinite().all() and (scale >= 0).all()):
        raise DataError(f"mean and std must be finite, std not negative, got {list(mean)} and {list(std)}")
    scale = torch.where(scale == 0, 1.0, scale)
    return images_uint8.to(torch.float32).div_(255).sub_(shift[:, None, None]).div_(scale[:, None, None])


def batch_size(images: Tensor) -> int:
    """Number of images that a batch holds as floats: fewer, the larger they are.

    >>> batch_size(torch.zeros(1, 3, 224, 224))
    83
    """
    return max(SMALLEST, min(LARGEST, PIXELS // max(1, images.shape[-1] * images.shape[-2])))


def pixel_statistics(images_uint8: Tensor) -> Normalisation:
    """Mean and population standard deviation per channel of uint8 (N, C, H, W), in units of [0, 1].

    Both are computed from the counts of the 256 pixel values, in float64 and without a float copy of the images.

    >>> pixel_statistics(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    ((0.5,), (0.5,))
    """
    value = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in images_uint8.unbind(1):
        share = channel.flatten().bincount(minlength=256).to(torch.float64) / channel.numel()
        mean = share @ value
        means.append(float(mean))
        deviations.append(float((share @ (value - mean).square()).sqrt()))
    return Normalisation(tuple(means), tuple(deviations))
