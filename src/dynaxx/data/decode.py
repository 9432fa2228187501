"""Decoding of image files, and their collection in one tensor."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dynaxx.data.errors import DataError

LARGEST = 8192
"""Largest height and width to which images are resized; an image of this size takes 200 MB."""

_EIGHT_BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")

_NO_PIXELS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""Formats that Pillow recognises but decodes only with a program or handler of its own, if at all."""

_PARTS_OF_OTHERS = ("MPO",)
"""Formats that Pillow decodes under the name of another: several JPEGs in one file, as some cameras write them."""

_BITS_PER_SAMPLE = 258
"""TIFF's tag for the number of bits that a pixel value really has."""


def readable_suffixes() -> frozenset[str]:
    """Suffixes of the image files that Pillow decodes, in lower case; .heic is one if pillow-heif is installed."""
    formats = {*_formats(), *_PARTS_OF_OTHERS}
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def decode(data: bytes, channels: int, image_size: int | None, *, squash: bool = False) -> np.ndarray:
    """Decode an image file to uint8 (C, H, W), rotated upright by its EXIF data; Pillow's errors pass through.

    The first of several images in a file is read.

    >>> decode(Path("photo.jpg").read_bytes(), channels=3, image_size=224).shape
    (3, 224, 224)
    """
    with open_upright(data) as image:
        return to_array(image, channels, image_size, squash=squash)


@contextmanager
def open_upright(data: bytes) -> Iterator[Image.Image]:
    """Open an image file, rotated upright by its EXIF data; Pillow's errors pass through.

    >>> with open_upright(Path("photo.jpg").read_bytes()) as image:
    ...     width, height = image.size

    Raises:
        DataError: the bytes are no image.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except UnidentifiedImageError:
        raise DataError("it holds no image of a format that Pillow decodes") from None
    with image:
        ImageOps.exif_transpose(image, in_place=True)
        yield image


def to_array(image: Image.Image, channels: int, image_size: int | None, *, squash: bool = False) -> np.ndarray:
    """Convert a Pillow image to uint8 (C, H, W); with an image size, resize the short side and crop the centre.

    Transparent pixels are blended on white. The upper eight of 16 bits per pixel are kept.

    >>> to_array(Image.new("RGB", (640, 480)), channels=3, image_size=224).shape
    (3, 224, 224)

    Args:
        channels: 1 (grey) or 3 (RGB).
        image_size: height and width of the result in pixels; None keeps the size.
        squash: resize both sides to it instead, so that nothing is cut off and the aspect is lost.

    Raises:
        DataError: the range of the pixel values is unknown (32 bits, floating point), so any conversion is a guess.
    """
    image = _on_white(_eight_bits(image)).convert("L" if channels == 1 else "RGB")
    if image_size is not None:
        image = _to_size(image, image_size, squash, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _to_size(image: Image.Image, size: int, squash: bool, method: Image.Resampling) -> Image.Image:
    return image.resize((size, size), method) if squash else ImageOps.fit(image, (size, size), method=method)


def resize_mask(mask_HW: np.ndarray, image_size: int | None, *, squash: bool = False) -> np.ndarray:
    """Bring a mask, uint8 (H, W), to the size of an image that `to_array` made; each pixel takes its nearest one.

    Where nothing is cut off, something is left of everything: a mark that falls between the pixels keeps one.

    >>> resize_mask(np.eye(4, dtype=np.uint8), 2).shape
    (2, 2)
    """
    if image_size is None:
        return mask_HW
    small = np.array(_to_size(Image.fromarray(mask_HW), image_size, squash, Image.Resampling.NEAREST))
    if squash and mask_HW.any() and not small.any():
        row, column = np.argwhere(mask_HW)[0]
        small[row * image_size // mask_HW.shape[0], column * image_size // mask_HW.shape[1]] = mask_HW[row, column]
    return small


def _formats() -> list[str]:
    _register_plugins()
    Image.init()
    known = set(Image.registered_extensions().values())
    return sorted(known & Image.OPEN.keys() - set(_NO_PIXELS))


@cache
def _register_plugins() -> None:
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image with eight bits per channel; Pillow's own conversion would clip."""
    if image.mode in _EIGHT_BIT:
        return image
    if not image.mode.startswith("I;16") and not (image.mode == "I" and image.format in ("PNG", "PPM")):
        raise DataError(f"pixels of mode {image.mode} have more than 8 bits; convert them to 8 bits first")
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    values = np.asarray(image)
    grey = (values >> (bits - 8)).astype(np.uint8)
    grey[values == image.info.get("transparency", -1)] = 255
    return Image.fromarray(grey)


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("LA") if image.mode == "La" else image
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def collect(
    items: Iterable[tuple[str, int, np.ndarray]], capacity: int, where: str | Path
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Stack (name, label, array) items into images (N, C, H, W), labels (N,) and names.

    >>> images, labels, names = collect([("a.png", 0, np.zeros((3, 32, 32)))], capacity=1, where="folder")

    Args:
        items: file name, label and pixels (C, H, W) of each image.
        capacity: largest number of items.
        where: source of the images, for error messages.

    Raises:
        DataError: there are no items, or their images differ in size.
    """
    images: np.ndarray | None = None
    labels: list[int] = []
    names: list[str] = []
    for name, label, array in items:
        if images is None:
            images = np.empty((capacity, *array.shape), dtype=np.uint8)
        if array.shape != images.shape[1:]:
            raise DataError(
                f"{where}: {name} is {_size(array.shape)} but {names[0]} is {_size(images.shape[1:])} "
                f"pixels; set data.image_size to bring all images to one size"
            )
        images[len(labels)] = array
        labels.append(label)
        names.append(name)
    if images is None:
        raise DataError(f"{where}: there is no readable image")
    return torch.from_numpy(images[: len(labels)]), torch.tensor(labels), tuple(names)


def check_image_size(image_size: int | None) -> None:
    """Raise DataError unless the image size is None or a number of pixels from 1 to `LARGEST`."""
    whole = isinstance(image_size, int) and not isinstance(image_size, bool)
    if image_size is not None and not (whole and 1 <= image_size <= LARGEST):
        raise DataError(f"data.image_size={image_size!r}: give a whole number of pixels from 1 to {LARGEST}, or null")


def check_channels(channels: int) -> None:
    """Raise DataError unless images can be converted to this number of channels."""
    if channels not in (1, 3) or isinstance(channels, bool):
        raise DataError(f"data.channels must be 1 or 3, got {channels}")


def _size(shape_CHW: Iterable[int]) -> str:
    _, height, width = shape_CHW
    return f"{width} x {height}"
