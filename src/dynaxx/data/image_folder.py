"""Images in a directory or a .zip, one folder per class."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from dynaxx.data.archive import Files, open_files
from dynaxx.data.decode import collect, decode
from dynaxx.data.errors import DataError
from dynaxx.data.file_source import FileSource
from dynaxx.data.images import LabelledImages
from dynaxx.data.layout import Layout, read_layout


@dataclass
class ImageFolder(FileSource):
    """A directory or a .zip with the layout train/<class>/..., test/<class>/..., directly or inside one folder.

    Labels follow the sorted class names. A .zip is read in place and not unpacked. Links to folders are read as
    folders. Transparent pixels are blended on white.

    >>> source = ImageFolder("flowers.zip", image_size=224)
    >>> source.train().images.shape
    torch.Size([800, 3, 224, 224])

    Raises:
        DataError: at construction for an option out of range; in the methods for a missing or damaged root,
            a wrong layout, an unreadable image, images of different sizes, or a path that `group_by` does not match.
    """

    group_by: str | None = None
    """Regular expression that finds in the path of an image what it shares with images that belong together, such as
    the place in `(\\w+)_\\d+\\.jpg`; its groups count, or all that matches. None: images stand alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.group_by or "")
        except re.error as error:
            raise DataError(f"data.group_by={self.group_by!r}: no regular expression ({error})") from None

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

    def _image_files(self, files: Files, split: str) -> list[str]:
        return [*chain(*self._layout(files)[split].images.values())]

    def _layout(self, files: Files) -> Layout:
        return read_layout(self._listing(files), Path(self.root))

    def _read(self, split: str) -> LabelledImages:
        with open_files(Path(self.root)) as files:
            part = self._layout(files)[split]
            self._skipped[split] = dict(part.left_out)
            rows = [(name, label) for label, names in enumerate(part.images.values()) for name in names]
            read = self._each(
                rows, split, lambda row: row[0], lambda row: decode(files.read(row[0]), self.channels, self.image_size)
            )
            images, labels, names = collect(((*row, array) for row, array in read), len(rows), self.root)
        classes = tuple(part.images)
        for name, count in zip(classes, labels.bincount(minlength=len(classes)).tolist(), strict=True):
            if count == 0:
                raise DataError(f"{self.root}: class {split}/{name} has no readable image")
        return LabelledImages(images, labels, classes, names, groups=self._groups(names))

    def _groups(self, names: Sequence[str]) -> tuple[str, ...]:
        if self.group_by is None:
            return ()
        found = [re.search(self.group_by, name) for name in names]
        if None in found:
            raise DataError(
                f"data.group_by={self.group_by!r}: does not match {names[found.index(None)]}; "
                "give what every path has, or null"
            )
        return tuple("/".join(match.groups()) or match[0] for match in found if match is not None)
