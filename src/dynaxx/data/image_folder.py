"""Images in a directory or a .zip, one folder per class."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from dynaxx.data.archive import SPLITS, Files, open_files
from dynaxx.data.decode import check_channels, check_image_size, collect, decode
from dynaxx.data.errors import DataError, one_line
from dynaxx.data.images import LabelledImages
from dynaxx.data.layout import Layout, read_layout
from dynaxx.data.progress import track
from dynaxx.data.repeats import same_bytes

_REMEDY = "mend or remove it, or set data.on_unreadable=skip"


@dataclass
class ImageFolder:
    """A directory or a .zip with the layout train/<class>/..., test/<class>/..., directly or inside one folder.

    Labels follow the sorted class names. A .zip is read in place and not unpacked. Links to folders are read as
    folders. Transparent pixels are blended on white.

    >>> source = ImageFolder("flowers.zip", image_size=224)
    >>> source.train().images.shape
    torch.Size([800, 3, 224, 224])

    Raises:
        DataError: at construction for an option out of range; in the methods for a missing or damaged root,
            a wrong layout, an unreadable image, or images of different sizes.
    """

    root: str | Path
    """Path of the directory or .zip."""
    image_size: int | None = None
    """Height and width in pixels after resizing the short side and cropping the centre; None keeps the images' size."""
    on_unreadable: str = "error"
    """Treatment of an unreadable image: "error" raises DataError, "skip" omits it and adds it to `skipped`."""
    channels: int = 3
    """Number of channels to convert to: 3 for RGB, 1 for grey."""
    _skipped: dict[str, dict[str, str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        if self.on_unreadable not in ("error", "skip"):
            raise DataError(f"data.on_unreadable must be error or skip, got {self.on_unreadable!r}")
        check_channels(self.channels)

    @property
    def skipped(self) -> dict[str, str]:
        """File that was left out so far -> the reason: its suffix, or that it is unreadable."""
        return {name: reason for left_out in self._skipped.values() for name, reason in left_out.items()}

    def classes(self) -> tuple[str, ...]:
        """Sorted class names, read from names of folders and files; no image is opened."""
        with open_files(Path(self.root)) as files:
            return tuple(self._layout(files)["train"].images)

    def train(self) -> LabelledImages:
        """The images below train/."""
        return self._read("train")

    def test(self) -> LabelledImages:
        """The images below test/."""
        return self._read("test")

    def links(self) -> tuple[str, ...]:
        """Names of the folders that are links. DVC does not notice a change behind them."""
        with open_files(Path(self.root)) as files:
            return tuple(files.listing().links)

    def copies(self) -> dict[str, str]:
        """Test file -> training file with the same bytes. No test image is decoded.

        >>> ImageFolder("flowers").copies()
        {'test/rose/7.jpg': 'train/rose/12.jpg'}
        """
        with open_files(Path(self.root)) as files:
            layout = self._layout(files)
            train, test = ([*chain(*layout[split].images.values())] for split in SPLITS)
            return same_bytes(files, [name for name in train if name not in self.skipped], test)

    def _layout(self, files: Files) -> Layout:
        listing = files.listing()
        for name, reason in listing.lost.items():
            if self.on_unreadable == "error":
                raise DataError(f"{self.root}: {name} is {reason}; {_REMEDY}")
        return read_layout(listing, Path(self.root))

    def _read(self, split: str) -> LabelledImages:
        with open_files(Path(self.root)) as files:
            part = self._layout(files)[split]
            self._skipped[split] = dict(part.left_out)
            named = [(name, label) for label, names in enumerate(part.images.values()) for name in names]
            images, labels, names = collect(self._decoded(files, named, split), len(named), self.root)
        classes = tuple(part.images)
        for name, count in zip(classes, labels.bincount(minlength=len(classes)).tolist(), strict=True):
            if count == 0:
                raise DataError(f"{self.root}: class {split}/{name} has no readable image")
        return LabelledImages(images, labels, classes, names)

    def _decoded(self, files: Files, named: list[tuple[str, int]], split: str) -> Iterator[tuple[str, int, np.ndarray]]:
        for name, label in track(named, f"reading {split} images"):
            try:
                array = decode(files.read(name), self.channels, self.image_size)
            except MemoryError:
                raise
            except Exception as error:  # Pillow, zipfile and zlib raise a dozen kinds on damaged bytes
                if self.on_unreadable == "error":
                    raise DataError(f"{self.root}: cannot read {name}: {one_line(error)}; {_REMEDY}") from error
                self._skipped[split][name] = f"unreadable: {one_line(error)}"
                continue
            yield name, label, array
