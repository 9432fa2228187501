"""Decoding of image files, and their collection in one tensor."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dynaxx.data.errors import DataError

_EIGHT_BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")


def decode(data: bytes, channels: int, image_size: int | None) -> np.ndarray:
    """Decode an image file to uint8 (C, H, W), rotated upright by its EXIF data; Pillow's errors pass through."""
    with Image.open(io.BytesIO(data)) as image:
        return to_array(ImageOps.exif_transpose(image), channels, image_size)


def to_array(image: Image.Image, channels: int, image_size: int | None) -> np.ndarray:
    """Convert a Pillow image to uint8 (C, H, W); with an image size, resize the short side and crop the centre.

    >>> to_array(Image.new("RGB", (640, 480)), channels=3, image_size=224).shape
    (3, 224, 224)

    Args:
        channels: 1 (grey) or 3 (RGB).
        image_size: height and width of the result in pixels; None keeps the size.

    Raises:
        DataError: the image has pixels of more than 8 bits, which the conversion would clip.
    """
    if image.mode not in _EIGHT_BIT:
        raise DataError(f"pixels of mode {image.mode} have more than 8 bits; convert them to 8 bits first")
    image = image.convert("L" if channels == 1 else "RGB")
    if image_size is not None:
        image = ImageOps.fit(image, (image_size, image_size), method=Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def collect(items: Iterable[tuple[str, int, np.ndarray]], capacity: int, where: str | Path) -> tuple[Tensor, Tensor]:
    """Stack (name, label, array) items into images (N, C, H, W) and labels (N,).

    >>> images, labels = collect([("a.png", 0, np.zeros((3, 32, 32)))], capacity=1, where="folder")

    Args:
        items: file name, label and pixels (C, H, W) of each image.
        capacity: largest number of items.
        where: source of the images, for error messages.

    Raises:
        DataError: there are no items, or their images differ in size.
    """
    images: np.ndarray | None = None
    labels: list[int] = []
    first_name = ""
    for name, label, array in items:
        if images is None:
            images, first_name = np.empty((capacity, *array.shape), dtype=np.uint8), name
        if array.shape != images.shape[1:]:
            raise DataError(
                f"{where}: {name} is {_size(array.shape)} but {first_name} is {_size(images.shape[1:])} "
                f"pixels; set data.image_size to bring all images to one size"
            )
        images[len(labels)] = array
        labels.append(label)
    if images is None:
        raise DataError(f"{where}: there is no readable image")
    return torch.from_numpy(images[: len(labels)]), torch.tensor(labels)


def check_image_size(image_size: int | None) -> None:
    """Raise DataError unless the image size is None or a positive number of pixels."""
    if image_size is not None and image_size < 1:
        raise DataError(f"data.image_size must be a positive number of pixels or null, got {image_size}")


def _size(shape_CHW: Iterable[int]) -> str:
    _, height, width = shape_CHW
    return f"{width} x {height}"
