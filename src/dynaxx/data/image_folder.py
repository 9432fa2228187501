"""Images in a directory or a .zip, one folder per class."""

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
            a wrong layout, an unreadable image, or images of different sizes.
    """

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
        return LabelledImages(images, labels, classes, names)
