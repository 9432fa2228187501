"""Image corruptions: noise, blur, contrast and JPEG, each at five strengths.

The corruptions follow Hendrycks and Dietterich (ICLR 2019), computed with torchvision's transforms and Pillow.
"""

import io
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

STRENGTHS = (1, 2, 3, 4, 5)

NOISE_DEVIATIONS = (0.02, 0.04, 0.06, 0.08, 0.10)
"""Standard deviation of the noise per strength, for pixel values in [0, 1]."""
BLUR_DEVIATIONS = (0.3, 0.5, 0.7, 0.9, 1.2)
"""Standard deviation of the Gaussian blur per strength, in 1/32 of the shorter side (one pixel in CIFAR)."""
CONTRAST_FACTORS = (0.8, 0.6, 0.45, 0.3, 0.2)
"""Factor per strength by which the contrast around the image mean is multiplied."""
JPEG_QUALITIES = (60, 40, 25, 15, 8)
"""JPEG quality setting per strength; a lower setting loses more detail."""


def noise(images: Tensor, strength: int) -> Tensor:
    """Add Gaussian noise to images; the noise is the same in every call with equal shape and strength."""
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(strength))
    return _whole(images / 255 + NOISE_DEVIATIONS[strength - 1] * drawn)


def blur(images: Tensor, strength: int) -> Tensor:
    """Blur images with a Gaussian kernel."""
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
    """Compress images with JPEG and decode them, with Pillow because torchvision's codec is deprecated."""
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
"""Name → function of uint8 images (N, C, H, W) and strength 1 … 5, with output like input; JPEG needs C of 1 or 3."""


def _whole(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)
