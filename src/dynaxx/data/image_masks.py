"""Images with a mask each, which gives every pixel a class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from dynaxx.data.archive import SPLITS, Files, open_files
from dynaxx.data.decode import collect
from dynaxx.data.errors import DataError
from dynaxx.data.file_source import FileSource
from dynaxx.data.images import LabelledImages
from dynaxx.data.masks import BINARY, MaskValues, Pair, find_pairs, read_pair
from dynaxx.data.places import place_of

LAYOUT = "train/images/, train/masks/, test/images/ and test/masks/"


@dataclass
class ImageMasks(FileSource):
    """A directory or a .zip of train/images/, train/masks/, test/images/ and test/masks/, perhaps inside one folder.

    Image and mask have the same stem, as images/7.jpg and masks/7.png. A mask is brought to the size of its image, each
    pixel from its nearest one.

    >>> source = ImageMasks("polyps.zip", image_size=224)
    >>> source.train().labels.shape, source.classes()
    (torch.Size([878, 224, 224]), ('background', 'foreground'))

    Raises:
        DataError: at construction for an option out of range; in the methods for a missing or damaged root, an image
            without a mask, a mask without an image, of another size or with an unknown value.
    """

    kind: ClassVar[str] = "masks"

    mask_classes: Sequence[str] = BINARY
    """Names of the classes, the background first."""
    mask_values: Sequence[int] | None = None
    """Value of each class in the masks; None: 0 and 255 or 0 and 1 for two classes, 0 to K - 1 for K."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._values = MaskValues(tuple(map(str, self.mask_classes)), tuple(self.mask_values or ()))

    def classes(self) -> tuple[str, ...]:
        """Names of the classes; files are paired by their names, and none is opened."""
        with open_files(Path(self.root)) as files:
            for split in SPLITS:
                self._pairs(files, split)
        return self._values.classes

    def train(self) -> LabelledImages:
        """The images below train/."""
        return self._read("train")

    def test(self) -> LabelledImages:
        """The images below test/."""
        return self._read("test")

    def _image_files(self, files: Files, split: str) -> list[str]:
        return [pair.image for pair in self._pairs(files, split)[0]]

    def _pairs(self, files: Files, split: str) -> tuple[list[Pair], dict[str, str]]:
        """The images of a split with their masks, and the files that are not read."""
        names = self._listing(files).names
        place = place_of(names, ["train/images/"], self.root, LAYOUT)
        try:
            return find_pairs(names, f"{place}{split}/")
        except DataError as error:
            raise DataError(f"{self.root}: {error}") from None

    def _read(self, split: str) -> LabelledImages:
        masks: list[np.ndarray] = []
        with open_files(Path(self.root)) as files:
            pairs, self._skipped[split] = self._pairs(files, split)

            def items() -> Iterator[tuple[str, int, np.ndarray]]:
                read = self._each(
                    pairs,
                    split,
                    lambda pair: pair.image,
                    lambda pair: read_pair(files, pair, self.channels, self.image_size),
                )
                for pair, (image, values) in read:
                    masks.append(self._values.to_classes(values, f"{self.root}: {pair.mask}"))
                    yield pair.image, 0, image

            images, _, names = collect(items(), len(pairs), self.root)
        return LabelledImages(images, torch.from_numpy(np.stack(masks)), self._values.classes, names)
