"""Transparency, more than eight bits, orientation: the pixels that a viewer shows."""

import io

import numpy as np
import pytest
from PIL import Image

from dynaxx.data.decode import decode

PIXELS = np.random.default_rng(3).integers(0, 256, (7, 9, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def grey(*rows: list[int], dtype=np.uint8) -> Image.Image:
    return Image.fromarray(np.array(rows, dtype))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_are_blended_on_white(kind: str) -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (200, 0, 100, alpha))
    content = encoded(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    got = decode(content, 3, None).transpose(1, 2, 0)[0].astype(int)
    assert got[0].tolist() == [255, 255, 255]
    assert np.abs(got[1] - [227, 127, 177]).max() <= 1
    assert got[2].tolist() == [200, 0, 100]


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_with_alpha(channels: int) -> None:
    image = Image.merge("LA", (grey([40, 40, 40]), grey([0, 51, 255])))
    assert decode(encoded(image, "PNG"), channels, None)[0].tolist() == [[255, 212, 40]]


@pytest.mark.parametrize(
    ("kind", "key"), [("PNG", 1), ("GIF", 1), ("PNG", bytes([255, 0])), ("PNG", bytes([255, 102]))]
)
def test_a_palette_with_transparency(kind: str, key) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 0, 0, 0] + [0] * 762)
    got = decode(encoded(image, kind, transparency=key), 3, None).transpose(1, 2, 0)[0].tolist()
    assert got == [[10, 20, 30], [153] * 3 if key == bytes([255, 102]) else [255] * 3]


@pytest.mark.parametrize(
    ("image", "key", "wanted"),
    [
        (grey([7, 90]), 90, [[7, 255]]),
        (grey([7 * 256, 90 * 256, 90 * 256 + 1], dtype=np.uint16), 90 * 256, [[7, 255, 90]]),
        (Image.fromarray(np.array([[[1, 1, 1], [9, 9, 9]]], np.uint8)), (1, 1, 1), [[255, 9]]),
    ],
    ids=["grey", "16 bits", "colour"],
)
def test_a_colour_that_stands_for_transparent(image: Image.Image, key, wanted: list) -> None:
    assert decode(encoded(image, "PNG", transparency=key), 1, None)[0].tolist() == wanted


def test_the_ground_is_there_before_the_image_is_resized() -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert decode(encoded(image, "PNG"), 3, 4).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_opaque_images_are_what_pillow_makes_of_them(mode: str, channels: int) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    plain = image.convert({"LA": "L", "RGBA": "RGB"}.get(mode, mode))
    wanted = np.asarray(plain.convert("L" if channels == 1 else "RGB")).reshape(7, 9, channels)
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    assert np.array_equal(decode(encoded(image, kind), channels, None).transpose(1, 2, 0), wanted)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_of_16_bits_the_upper_eight_are_kept(kind: str) -> None:
    image = grey([0, 255, 256, 300, 32768, 65535], dtype=np.uint16)
    assert decode(encoded(image, kind), 1, None)[0].tolist() == [[0, 0, 1, 1, 128, 255]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_a_range_that_nobody_states_is_refused(dtype) -> None:
    with pytest.raises(ValueError, match="have more than 8 bits; convert them"):
        decode(encoded(grey([0, 1], dtype=dtype), "TIFF"), 1, None)


UPRIGHT = [
    None,
    "FLIP_LEFT_RIGHT",
    "ROTATE_180",
    "FLIP_TOP_BOTTOM",
    "TRANSPOSE",
    "ROTATE_90",
    "TRANSVERSE",
    "ROTATE_270",
]
"""What brings an image of orientation 1, 2, … 8 on disk from upright to how it is stored."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_all_orientations(orientation: int, kind: str, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    turned = UPRIGHT[orientation - 1]
    stored = image.transpose(Image.Transpose[turned]) if turned else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(decode(content, 3, None).transpose(1, 2, 0), PIXELS)
    wide = encoded(Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 256), "PNG", exif=exif)
    assert decode(wide, 1, None).shape == ((1, 3, 4) if orientation < 5 else (1, 4, 3))
