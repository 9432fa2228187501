"""Masks: their files beside the images, and the class that each of their values stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dynaxx.data.archive import Files
from dynaxx.data.decode import decode, open_upright, resize_mask
from dynaxx.data.errors import DataError, few
from dynaxx.data.file_source import Misfit
from dynaxx.data.places import images_below

BINARY = ("background", "foreground")


class Pair(NamedTuple):
    """An image and its mask, by their file names.

    >>> Pair("train/images/1.jpg", "train/masks/1.png").mask
    'train/masks/1.png'
    """

    image: str
    mask: str


def read_mask(data: bytes) -> np.ndarray:
    """The values of a mask, uint8 (H, W): grey values, or numbers of a palette; upright as its EXIF data say.

    >>> read_mask(Path("mask.png").read_bytes()).max()
    255

    Raises:
        Misfit: a mask in colours, or with values above 255.
    """
    with open_upright(data) as image:
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            colours = np.asarray(image.convert("RGB"))
            if (colours != colours[..., :1]).any():
                raise Misfit("the mask is in colours; give one grey value for each class")
            return colours[..., 0]
        values = np.asarray(image)
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.max(initial=0) > 255 or values.min(initial=0) < 0:
        raise Misfit(f"the mask has values from {values.min()} to {values.max()}; give values from 0 to 255")
    return values.astype(np.uint8)


def read_pair(
    files: Files, pair: Pair, channels: int, image_size: int | None, *, squash: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 (C, H, W), and the values of its mask, uint8 (H, W), both brought to one size.

    >>> with open_files(Path("polyps.zip")) as files:
    ...     image, mask = read_pair(files, Pair("train/images/1.jpg", "train/masks/1.png"), channels=3, image_size=224)

    Raises:
        Misfit: the mask has another size than the image.
    """
    data = files.read(pair.image)
    with open_upright(data) as image:
        width, height = image.size
    try:
        mask = read_mask(files.read(pair.mask))
    except Misfit as error:
        raise Misfit(f"{pair.mask}: {error}") from None
    if mask.shape != (height, width):
        raise Misfit(
            f"{pair.mask} is {mask.shape[1]} x {mask.shape[0]} but {pair.image} is {width} x {height} pixels; "
            "give a mask of the image's size"
        )
    return decode(data, channels, image_size, squash=squash), resize_mask(mask, image_size, squash=squash)


def find_pairs(names: Sequence[str], folder: str) -> tuple[list[Pair], dict[str, str]]:
    """The images below `folder`images/ with the masks of the same stem below `folder`masks/, and the other files.

    >>> find_pairs(["train/images/1.jpg", "train/masks/1.png"], "train/")
    ([Pair(image='train/images/1.jpg', mask='train/masks/1.png')], {})

    Raises:
        DataError: no images, an image without a mask, or a mask without an image.
    """
    (images, others), (masks, more) = (images_below(names, f"{folder}{part}/") for part in ("images", "masks"))
    if not images:
        raise DataError(f"{folder}images/ holds no images; put images there and their masks into {folder}masks/")
    if bare := [name for stem, name in images.items() if stem not in masks]:
        stem = next(stem for stem, name in images.items() if name == bare[0])
        raise DataError(f"{few(bare, shown=1)}: there is no mask; give {folder}masks/{stem}.png, of the same stem")
    if orphans := [name for stem, name in masks.items() if stem not in images]:
        raise DataError(f"{few(orphans, shown=1)}: there is no image to this mask; remove it or give the image")
    return [Pair(name, masks[stem]) for stem, name in images.items()], others | more


@dataclass(frozen=True)
class MaskValues:
    """The class of each value of a mask.

    Without `values`, masks of two classes have 0 for the background and 1 or 255 for the other class, and masks of more
    classes have the class numbers themselves.

    >>> MaskValues(BINARY).to_classes(np.array([[0, 255]], dtype=np.uint8), "mask.png")
    array([[0, 1]], dtype=uint8)

    Raises:
        DataError: fewer than two classes, or values that do not fit them.
    """

    classes: tuple[str, ...] = BINARY
    """Names of the classes, the background first."""
    values: tuple[int, ...] = ()
    """Value of each class; () for the usual ones."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes) or len(self.classes) > 256:
            raise DataError(f"data.mask_classes={list(self.classes)}: give two or more names, the background first")
        whole = all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 255 for v in self.values)
        if self.values and (
            len(set(self.values)) != len(self.classes) or len(self.values) != len(self.classes) or not whole
        ):
            raise DataError(
                f"data.mask_values={list(self.values)}: give a value from 0 to 255 for each of "
                f"{', '.join(self.classes)} (data.mask_classes)"
            )

    def to_classes(self, values_HW: np.ndarray, told: str) -> np.ndarray:
        """The class numbers of a mask's values, uint8 (H, W).

        Raises:
            Misfit: a value that stands for no class.
        """
        found = np.unique(values_HW).tolist()
        usual = [0, max(found)] if len(self.classes) == 2 and max(found) in (1, 255) else range(len(self.classes))
        allowed = list(self.values or usual)
        if unknown := sorted(set(found) - set(allowed)):
            usual_told = "0 and 255, or 0 and 1" if len(self.classes) == 2 else f"0 to {len(self.classes) - 1}"
            known = ", ".join(map(str, self.values)) or usual_told
            raise Misfit(
                f"{told}: has the value {unknown[0]}, which stands for no class; masks have {known}; for others give "
                "data.mask_classes and data.mask_values"
            )
        table = np.zeros(256, dtype=np.uint8)
        table[allowed] = range(len(allowed))
        return table[values_HW]
