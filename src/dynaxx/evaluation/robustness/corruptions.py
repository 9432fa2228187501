"""Image corruptions: noise, blur, contrast and JPEG, each at five strengths.

After Hendrycks and Dietterich (ICLR 2019), by torchvision's transforms and Pillow.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

STRENGTHS = (1, 2, 3, 4, 5)

NOISE_DEVIATIONS = (0.02, 0.04, 0.06, 0.08, 0.10)
"""Standard deviation per strength, in units of [0, 1]."""
BLUR_DEVIATIONS = (0.3, 0.5, 0.7, 0.9, 1.2)
"""Standard deviation of the Gaussian per strength, in 32nds of the shorter side (pixels of a CIFAR image)."""
CONTRAST_FACTORS = (0.8, 0.6, 0.45, 0.3, 0.2)
"""Contrast factor per strength, around the mean of the image."""
JPEG_QUALITIES = (60, 40, 25, 15, 8)
"""JPEG quality per strength."""


def noise(images: Tensor, strength: int) -> Tensor:
    """Add Gaussian noise; every call draws the same noise."""
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(strength))
    return _whole(images / 255 + NOISE_DEVIATIONS[strength - 1] * drawn)


def blur(images: Tensor, strength: int) -> Tensor:
    """Blur with a Gaussian kernel."""
    from torchvision.transforms.v2.functional import gaussian_blur

    sigma = BLUR_DEVIATIONS[strength - 1] * min(images.shape[-2:]) / 32
    kernel = 2 * max(1, round(3 * sigma)) + 1
    most = 2 * min(images.shape[-2:]) - 1  # what reflection at the border allows
    return gaussian_blur(images, [min(kernel, most)] * 2, [sigma] * 2)


def contrast(images: Tensor, strength: int) -> Tensor:
    """Reduce the contrast around the mean of each image."""
    mean = images.float().mean((1, 2, 3), keepdim=True) / 255
    return _whole(mean + CONTRAST_FACTORS[strength - 1] * (images / 255 - mean))


def jpeg(images: Tensor, strength: int) -> Tensor:
    """Compress and decode with Pillow; torchvision's own codec is deprecated."""
    from PIL import Image

    def again(image: Tensor) -> Tensor:
        plain = image[0] if len(image) == 1 else image.permute(1, 2, 0)
        with io.BytesIO() as file:
            Image.fromarray(plain.numpy()).save(file, "JPEG", quality=JPEG_QUALITIES[strength - 1])
            read = torch.from_numpy(np.array(Image.open(file)))
        return read[None] if len(image) == 1 else read.permute(2, 0, 1)

    return torch.stack([again(image) for image in images])


CORRUPTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "noise": noise,
    "blur": blur,
    "contrast": contrast,
    "jpeg": jpeg,
}
"""Functions of uint8 images (N, C, H, W) and a strength 1 … 5; shape and type stay. JPEG needs 1 or 3 channels."""


def _whole(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)
