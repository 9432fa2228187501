"""What all sources of image files have in common: options, unreadable files, links, copies."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from dynaxx.data.archive import SPLITS, Files, Listing, open_files
from dynaxx.data.decode import check_channels, check_image_size
from dynaxx.data.errors import DataError, one_line
from dynaxx.data.progress import track
from dynaxx.data.repeats import same_bytes

_REMEDY = "mend or remove it, or set data.on_unreadable=skip"

Row = TypeVar("Row")
Read = TypeVar("Read")


class Misfit(DataError):
    """Files that can be read but do not fit each other, such as a mask of another size: never skipped."""


@dataclass
class FileSource(ABC):
    """The base of sources that read image files of a directory or a .zip; see `ImageFolder`.

    A subclass has `train`, `test` and `classes`, and says in `_image_files` which images each split has.

    >>> ImageMasks("polyps.zip").skipped
    {}
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

    def links(self) -> tuple[str, ...]:
        """Names of the folders that are links. DVC does not notice a change behind them."""
        with open_files(Path(self.root)) as files:
            return tuple(files.listing(self._folders()).links)

    def copies(self) -> dict[str, str]:
        """Test file -> training file with the same bytes. No test image is decoded.

        >>> ImageFolder("flowers").copies()
        {'test/rose/7.jpg': 'train/rose/12.jpg'}
        """
        with open_files(Path(self.root)) as files:
            train, test = (self._image_files(files, split) for split in SPLITS)
            return same_bytes(files, [name for name in train if name not in self.skipped], test)

    def _folders(self) -> Sequence[str]:
        """The folders below which files are looked for."""
        return SPLITS

    @abstractmethod
    def _image_files(self, files: Files, split: str) -> list[str]:
        """Names of the images of a split."""

    def _listing(self, files: Files) -> Listing:
        listing = files.listing(self._folders())
        for name, reason in listing.lost.items():
            if self.on_unreadable == "error":
                raise DataError(f"{self.root}: {name} is {reason}; {_REMEDY}")
        return listing

    def _each(
        self, rows: Sequence[Row], split: str, name_of: Callable[[Row], str], read: Callable[[Row], Read]
    ) -> Iterator[tuple[Row, Read]]:
        """Read row by row; a row of which a file is unreadable is an error, or left out."""
        for row in track(rows, f"reading {split} images"):
            try:
                content = read(row)
            except (MemoryError, Misfit):
                raise
            except Exception as error:  # Pillow, zipfile and zlib raise a dozen kinds on damaged bytes
                name = name_of(row)
                if self.on_unreadable == "error":
                    raise DataError(f"{self.root}: cannot read {name}: {one_line(error)}; {_REMEDY}") from error
                self._skipped.setdefault(split, {})[name] = f"unreadable: {one_line(error)}"
                continue
            yield row, content
