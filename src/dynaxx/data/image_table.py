"""Images with numbers to predict, from train.csv and test.csv."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch

from dynaxx.data.archive import SPLITS, Files, open_files
from dynaxx.data.decode import collect, decode
from dynaxx.data.errors import DataError
from dynaxx.data.file_source import FileSource
from dynaxx.data.images import LabelledImages
from dynaxx.data.places import place_of
from dynaxx.data.table import Row, Table, number, read_table

FILE, GROUP = "file", "group"
LAYOUT = "train.csv and test.csv with a column `file`, a column of numbers, and perhaps a column `group`"


class _Image(NamedTuple):
    name: str
    numbers: list[float]
    group: str


@dataclass
class ImageTable(FileSource):
    """A directory or a .zip with train.csv and test.csv, directly or inside one folder.

    The column `file` names each image by its path from the CSV file's folder. One or several columns hold the numbers
    to predict. A column of groups, such as patients or places, is read where it exists.

    >>> source = ImageTable("sediment.zip", image_size=224, target="log2_d50")
    >>> source.train().labels.shape, source.classes()
    (torch.Size([171, 1]), ('log2_d50',))

    Raises:
        DataError: at construction for an option out of range; in the methods for a missing or damaged root, a missing
            file or column, a cell that is empty or no finite number, or a file named twice.
    """

    kind: ClassVar[str] = "numbers"

    target: str | Sequence[str] | None = None
    """Column or columns of the numbers to predict; None: the only column of numbers."""
    group_column: str | None = None
    """Column of the groups; None: the column `group`, if there is one."""

    def classes(self) -> tuple[str, ...]:
        """Names of the columns to predict; no image is opened."""
        with open_files(Path(self.root)) as files:
            place = self._place(files)
            targets = self._targets(self._table(files, place, "train"), f"{place}train.csv")
            self._rows(files, "train")
            self._rows(files, "test")
            return targets

    def train(self) -> LabelledImages:
        """The images of train.csv."""
        return self._read("train")

    def test(self) -> LabelledImages:
        """The images of test.csv."""
        return self._read("test")

    def links(self) -> tuple[str, ...]:
        """None are looked for: the CSV files name each image."""
        return ()

    def _image_files(self, files: Files, split: str) -> list[str]:
        return [image.name for image in self._rows(files, split)]

    def _place(self, files: Files) -> str:
        names = files.near()
        place = place_of(names, ["train.csv"], self.root, LAYOUT)
        for split in SPLITS:
            if f"{place}{split}.csv" not in names:
                raise DataError(f"{self.root}: no {place}{split}.csv; the layout is {LAYOUT}")
        return place

    def _table(self, files: Files, place: str, split: str) -> Table:
        name = f"{place}{split}.csv"
        return read_table(files.read(name), f"{self.root}: {name}", [FILE])

    def _targets(self, table: Table, told: str) -> tuple[str, ...]:
        groups = self.group_column or GROUP
        if self.target is not None:
            targets = (self.target,) if isinstance(self.target, str) else tuple(map(str, self.target))
            if not targets or len(set(targets)) != len(targets) or {FILE, groups} & set(targets):
                raise DataError(f"data.target={list(targets)}: give columns of numbers, each once")
            return targets
        found = [
            column
            for column in table.columns
            if column not in (FILE, groups) and all(number(row.cells[column]) is not None for row in table.rows)
        ]
        if len(found) == 1:
            return (found[0],)
        if not found:
            raise DataError(f"{self.root}: {told} has no column of numbers; its columns are {', '.join(table.columns)}")
        raise DataError(
            f"{self.root}: {told} has several columns of numbers, {', '.join(found)}; "
            f"name those to predict, as data.target={found[0]}"
        )

    def _rows(self, files: Files, split: str) -> list[_Image]:
        place = self._place(files)
        targets = self._targets(self._table(files, place, "train"), f"{place}train.csv")
        table = self._table(files, place, split)
        groups = self.group_column or (GROUP if GROUP in table.columns else None)
        for column in (*targets, *([groups] if groups else [])):
            if column not in table.columns:
                raise DataError(
                    f"{self.root}: {place}{split}.csv has no column {column!r}; its columns are "
                    f"{', '.join(table.columns)}"
                )
        seen: dict[str, str] = {}
        images = []
        for row in table.rows:
            name = _path(row, place, files)
            if name in seen:
                raise DataError(f"{row.told}: names {row.cells[FILE]}, as {seen[name]} does; name each file once")
            seen[name] = row.told.rpartition(", ")[2]
            numbers = [_number(row, column) for column in targets]
            if groups and not row.cells[groups]:
                raise DataError(f"{row.told}: {groups} is empty; name a group for each image, or for none")
            images.append(_Image(name, numbers, row.cells[groups] if groups else ""))
        return images

    def _read(self, split: str) -> LabelledImages:
        self._skipped[split] = {}
        with open_files(Path(self.root)) as files:
            classes = self._targets(self._table(files, self._place(files), "train"), "train.csv")
            rows = self._rows(files, split)
            read = self._each(
                list(enumerate(rows)),
                split,
                lambda row: row[1].name,
                lambda row: decode(files.read(row[1].name), self.channels, self.image_size),
            )
            items = ((row.name, place, array) for (place, row), array in read)
            images, kept, names = collect(items, len(rows), self.root)
        labels = torch.tensor([rows[place].numbers for place in kept.tolist()], dtype=torch.float32)
        groups = tuple(rows[place].group for place in kept.tolist())
        return LabelledImages(images, labels, classes, names, groups if all(groups) else ())


def _path(row: Row, place: str, files: Files) -> str:
    """The file that a row names, which exists."""
    given = row.cells[FILE].replace("\\", "/")
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if not parts:
        raise DataError(f"{row.told}: file is empty; name an image")
    if given.startswith("/") or ".." in parts or ":" in parts[0]:
        raise DataError(f"{row.told}: file={given} points outside the folder; give a path inside it")
    name = place + "/".join(parts)
    if not files.has(name):
        raise DataError(f"{row.told}: there is no file {name}; mend the path, which begins at the CSV file's folder")
    return name


def _number(row: Row, column: str) -> float:
    value = number(row.cells[column])
    if value is None:
        text = row.cells[column]
        told = f"{column}={text} is no finite number" if text else f"{column} is empty"
        raise DataError(f"{row.told}: {told}; give a number, or remove the row")
    return value
