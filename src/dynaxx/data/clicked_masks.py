"""Objects to outline from a click on each: crops around the cells of slices, or around the objects of masks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from PIL import Image

from dynaxx.data.archive import SPLITS, Files, open_files
from dynaxx.data.decode import LARGEST
from dynaxx.data.errors import DataError, check_whole
from dynaxx.data.file_source import FileSource
from dynaxx.data.images import LabelledImages
from dynaxx.data.masks import Pair, find_pairs, read_pair
from dynaxx.data.places import images_below, place_of

RADIUS = 2
"""Radius in pixels of the disc that a click is drawn as."""

LAYOUT = "train/images/, train/masks/, test/images/ and test/masks/; or slices in image/ with their masks in label/"


class Sample(NamedTuple):
    """A crop around one object."""

    image_CHW: np.ndarray
    click_HW: np.ndarray
    object_HW: np.ndarray


@dataclass
class ClickedMasks(FileSource):
    """Crops around objects, each with a click on its object as the source `click` and the object as its mask.

    An object is a connected part of a mask that is not 0, of at least `min_area` pixels: in a mask of membranes, which
    are 0, it is a cell. Crops, objects and clicks depend on `seed` alone. Each image is a group. The layout is that of
    `ImageMasks`, or image/ and label/ without a split, of which the first slices are to train and the last to test on.

    >>> source = ClickedMasks("membrane.zip", crop=128, crops_per_slice=8)
    >>> train = source.train()
    >>> train.images.shape, train.sources["click"].shape, train.groups[0]
    (torch.Size([160, 3, 128, 128]), torch.Size([160, 1, 128, 128]), 'membrane/image/0.png')

    Raises:
        DataError: at construction for an option out of range; in the methods for a missing or damaged root, images
            without masks, images smaller than a crop, or too few slices.
    """

    kind: ClassVar[str] = "masks"

    crop: int = 128
    """Height and width in pixels of a crop; with an image size it is brought to that size afterwards."""
    crops_per_slice: int = 32
    """Number of crops of each image; objects are taken in turn."""
    train_slices: int = 20
    """Number of slices to train on, the first ones, where the layout has no split."""
    test_slices: int = 10
    """Number of slices to test on, the last ones, where the layout has no split."""
    min_area: int = 200
    """Smallest number of pixels of an object."""
    seed: int = 0
    """Seed of crops and clicks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, crop=8, crops_per_slice=1, train_slices=1, test_slices=1, min_area=1, seed=0)
        if self.crop > LARGEST:
            raise DataError(f"data.crop={self.crop}: give at most {LARGEST}")

    def classes(self) -> tuple[str, ...]:
        """Background and object; files are paired by their names, and none is opened."""
        with open_files(Path(self.root)) as files:
            for split in SPLITS:
                self._pairs(files, split)
        return "background", "object"

    def train(self) -> LabelledImages:
        """Crops of the training images."""
        return self._read("train")

    def test(self) -> LabelledImages:
        """Crops of the test images."""
        return self._read("test")

    def _folders(self) -> tuple[str, ...]:
        return *SPLITS, "image", "label"

    def _image_files(self, files: Files, split: str) -> list[str]:
        return [pair.image for pair in self._pairs(files, split)[0]]

    def _pairs(self, files: Files, split: str) -> tuple[list[Pair], dict[str, str]]:
        """The images of a split with their masks, and the files that are not read."""
        names = self._listing(files).names
        place = place_of(names, ["train/images/", "image/"], self.root, LAYOUT)
        try:
            if any(name.startswith(f"{place}train/images/") for name in names):
                return find_pairs(names, f"{place}{split}/")
            return self._slices(names, place, split)
        except DataError as error:
            raise DataError(f"{self.root}: {error}") from None

    def _slices(self, names: list[str], place: str, split: str) -> tuple[list[Pair], dict[str, str]]:
        (images, others), (masks, more) = (images_below(names, f"{place}{part}/") for part in ("image", "label"))
        if wrong := sorted(images.keys() ^ masks.keys()):
            raise DataError(f"slice {wrong[0]} is not both in {place}image/ and {place}label/; give its mask")
        ordered = sorted(images, key=lambda stem: (not stem.isdecimal(), int(stem) if stem.isdecimal() else 0, stem))
        if self.train_slices + self.test_slices > len(ordered):
            raise DataError(
                f"holds {len(ordered)} slices; data.train_slices={self.train_slices} and "
                f"data.test_slices={self.test_slices} are more"
            )
        stems = ordered[: self.train_slices] if split == "train" else ordered[-self.test_slices :]
        return [Pair(images[stem], masks[stem]) for stem in stems], others | more

    def _read(self, split: str) -> LabelledImages:
        samples: list[Sample] = []
        names: list[str] = []
        groups: list[str] = []
        with open_files(Path(self.root)) as files:
            pairs, self._skipped[split] = self._pairs(files, split)
            numbered = [(SPLITS.index(split), number, pair) for number, pair in enumerate(pairs)]
            read = self._each(
                numbered, split, lambda row: row[2].image, lambda row: read_pair(files, row[2], self.channels, None)
            )
            for (which, number, pair), (image, mask) in read:
                if min(mask.shape) < self.crop:
                    raise DataError(
                        f"{self.root}: {pair.image} is {mask.shape[1]} x {mask.shape[0]} pixels, smaller than a crop; "
                        f"data.crop={self.crop}: give at most {min(mask.shape)}"
                    )
                found = list(self._samples(image, mask, np.random.default_rng([self.seed, which, number])))
                samples += found
                names += [f"{pair.image}, crop {place}" for place in range(len(found))]
                groups += [pair.image] * len(found)
        if not samples:
            raise DataError(
                f"{self.root}: no {split} mask holds an object of {self.min_area} pixels; give a smaller data.min_area"
            )
        images, clicks, objects = (torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))
        return LabelledImages(
            images,
            objects,
            ("background", "object"),
            tuple(names),
            groups=tuple(groups),
            sources={"click": clicks[:, None]},
        )

    def _samples(self, image: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> Iterator[Sample]:
        from scipy.ndimage import label

        parts, _ = label(mask > 0)
        areas = np.bincount(parts.ravel())
        objects = random.permutation([number for number in range(1, len(areas)) if areas[number] >= self.min_area])
        for turn in range(self.crops_per_slice if len(objects) else 0):
            yield crop_around(image, parts == objects[turn % len(objects)], self.crop, self.image_size, random)


def crop_around(
    image_CHW: np.ndarray, object_HW: np.ndarray, crop: int, image_size: int | None, random: np.random.Generator
) -> Sample:
    """A crop around a random pixel of an object, with a click on the object.

    The object of the crop is what is connected with that pixel inside the crop. The click is drawn among those of its
    pixels that are at least half as far from its border as the farthest one.

    >>> image, square = np.zeros((3, 64, 64), np.uint8), np.zeros((64, 64), bool)
    >>> square[10:30, 10:30] = True
    >>> crop_around(image, square, 32, None, np.random.default_rng(0)).image_CHW.shape
    (3, 32, 32)

    Args:
        image_CHW: pixels, uint8.
        object_HW: the object, bool, with one pixel at least.
        crop: height and width of the crop in pixels.
        image_size: height and width that the crop is brought to; None keeps them.
        random: where random numbers come from.

    Returns:
        The crop, uint8 (C, S, S); the click, uint8 (S, S), 1 on a disc and 0 elsewhere; the object, uint8 (S, S).
    """
    from scipy.ndimage import distance_transform_edt, label

    places = np.argwhere(object_HW)
    centre = places[random.integers(len(places))]
    top, left = np.clip(centre - crop // 2, 0, np.array(object_HW.shape) - crop)
    window = slice(top, top + crop), slice(left, left + crop)
    parts, _ = label(object_HW[window])
    inside = parts == parts[centre[0] - top, centre[1] - left]
    image = image_CHW[:, *window]
    if image_size is not None:
        image = np.stack([_resized(channel, image_size, Image.Resampling.BICUBIC) for channel in image])
        middle = tuple((centre - (top, left)) * image_size // crop)
        inside = _resized(inside.astype(np.uint8), image_size, Image.Resampling.NEAREST) > 0
        inside[middle] |= not inside.any()  # an object of a few pixels may fall between those that are kept
    # the crop's edge counts as a border, too
    depth = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    deep = np.argwhere((depth > 0) & (depth >= depth.max() / 2))
    row, column = deep[random.integers(len(deep))]
    rows, columns = np.ogrid[: inside.shape[0], : inside.shape[1]]
    click = (rows - row) ** 2 + (columns - column) ** 2 <= RADIUS**2
    return Sample(np.ascontiguousarray(image), click.astype(np.uint8), inside.astype(np.uint8))


def _resized(values: np.ndarray, size: int, method: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(values).resize((size, size), method))
