"""Images to find defects in: good ones to train on, good and defective ones to test on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

import numpy as np
import torch

from dynaxx.data.archive import SPLITS, Files, open_files
from dynaxx.data.decode import collect, decode
from dynaxx.data.errors import DataError, few
from dynaxx.data.file_source import FileSource
from dynaxx.data.images import LabelledImages
from dynaxx.data.masks import Pair, read_pair
from dynaxx.data.places import images_below, place_of, visible
from dynaxx.data.table import read_table

GOOD, TRUTH = "good", "ground_truth"
LAYOUT = "train/good/, test/good/, test/<defect>/, and masks ground_truth/<defect>/<stem>_mask.png"
GROUP_COLUMNS = ("group", "tile_group")


class _Image(NamedTuple):
    name: str
    label: int
    mask: str | None


@dataclass
class MvtecFolder(FileSource):
    """A directory or a .zip in the layout of MVTec AD, perhaps inside one folder.

    train/good/, test/good/ and test/<defect>/ hold images; ground_truth/<defect>/<stem>_mask.png says where the defect
    of test/<defect>/<stem> is. The whole of ground_truth/ may be left out. All training images are good. With an image
    size both sides are resized to it: cutting out the centre would cut off defects.

    A file groups.csv with the columns `file` and `group` (or `tile_group`) gives each image a group.

    >>> source = MvtecFolder("tiles.zip", image_size=224)
    >>> source.classes()
    ('good', 'blowhole', 'break', 'crack', 'fray', 'uneven')

    Raises:
        DataError: at construction for an option out of range; in the methods for a missing or damaged root, a folder
            that does not belong to the layout, or a mask that is missing, too many, or of another size.
    """

    kind: ClassVar[str] = "classes"

    group_column: str | None = None
    """Column of groups.csv; None: `group` or `tile_group`, if groups.csv exists."""

    def classes(self) -> tuple[str, ...]:
        """`good` and the sorted names of the defects; no image is opened."""
        with open_files(Path(self.root)) as files:
            names, place = self._names(files)
            rows = [row for split in SPLITS for row in self._rows(files, split)[0]]
            self._groups(files, place, rows)
            return self._classes(names, place)

    def train(self) -> LabelledImages:
        """The good images below train/."""
        return self._read("train")

    def test(self) -> LabelledImages:
        """The images below test/, with their defects as `regions`."""
        return self._read("test")

    def _folders(self) -> tuple[str, ...]:
        return "train", "test", TRUTH

    def _image_files(self, files: Files, split: str) -> list[str]:
        return [row.name for row in self._rows(files, split)[0]]

    def _names(self, files: Files) -> tuple[list[str], str]:
        names = visible(self._listing(files).names)
        place = place_of(names, ["train/good/"], self.root, LAYOUT)
        if wrong := sorted(_folders(names, f"{place}train/") - {GOOD}):
            raise DataError(
                f"{self.root}: {place}train/ holds {few(wrong)} beside {GOOD}; training images are all good, "
                "put the others into test/"
            )
        return names, place

    def _classes(self, names: list[str], place: str) -> tuple[str, ...]:
        found = _folders(names, f"{place}test/")
        defects = sorted(found - {GOOD})
        if GOOD not in found or not defects:
            there = few(sorted(found)) or "nothing"
            raise DataError(
                f"{self.root}: {place}test/ holds {there}; give {GOOD}/ and a folder for each kind of defect"
            )
        return GOOD, *defects

    def _rows(self, files: Files, split: str) -> tuple[list[_Image], dict[str, str]]:
        """The images of a split, and the files that are not read."""
        names, place = self._names(files)
        classes = self._classes(names, place) if split == "test" else (GOOD,)
        with_truth = any(name.startswith(f"{place}{TRUTH}/") for name in names)
        rows: list[_Image] = []
        used: set[str | None] = set()
        left_out: dict[str, str] = {}
        for label, kind in enumerate(classes):
            images, others = images_below(names, f"{place}{split}/{kind}/")
            masks, _ = images_below(names, f"{place}{TRUTH}/{kind}/")
            left_out |= others
            if not images:
                raise DataError(f"{self.root}: {place}{split}/{kind}/ holds no images; add some or remove the folder")
            for stem, name in images.items():
                mask = masks.get(f"{stem}_mask") if label else None
                if label and with_truth and mask is None:
                    raise DataError(
                        f"{self.root}: {name}: there is no mask; give {place}{TRUTH}/{kind}/{stem}_mask.png"
                    )
                used.add(mask)
                rows.append(_Image(name, label, mask))
        truth = [] if split == "train" else images_below(names, f"{place}{TRUTH}/")[0].values()
        if orphans := sorted(set(truth) - used):
            raise DataError(f"{self.root}: {few(orphans, shown=1)}: there is no image to this mask; remove it")
        return rows, left_out

    def _groups(self, files: Files, place: str, rows: list[_Image]) -> dict[str, str]:
        """Image -> its group; empty without groups.csv."""
        name = f"{place}groups.csv"
        if name not in files.near():
            if self.group_column is not None:
                raise DataError(f"data.group_column={self.group_column}: {self.root} holds no {name}")
            return {}
        told = f"{self.root}: {name}"
        table = read_table(files.read(name), told, ["file", *([self.group_column] if self.group_column else [])])
        column = self.group_column or next((c for c in GROUP_COLUMNS if c in table.columns), None)
        if column is None:
            raise DataError(f"{told} has no column {' or '.join(GROUP_COLUMNS)}; name one with data.group_column")
        groups = {}
        for row in table.rows:
            if not row.cells[column]:
                raise DataError(f"{row.told}: {column} is empty; name a group for each image")
            groups[place + row.cells["file"]] = row.cells[column]
        if bare := [row.name for row in rows if row.name not in groups]:
            raise DataError(f"{told} names no group for {few(bare, shown=1)}; add a row for each image")
        return groups

    def _read(self, split: str) -> LabelledImages:
        regions: list[np.ndarray] = []
        with open_files(Path(self.root)) as files:
            names, place = self._names(files)
            classes = self._classes(names, place)
            rows, self._skipped[split] = self._rows(files, split)
            groups = self._groups(files, place, rows)

            def read(row: _Image) -> tuple[np.ndarray, np.ndarray | None]:
                if row.mask is None:
                    return decode(files.read(row.name), self.channels, self.image_size, squash=True), None
                return read_pair(files, Pair(row.name, row.mask), self.channels, self.image_size, squash=True)

            def items() -> Iterator[tuple[str, int, np.ndarray]]:
                for row, (image, mask) in self._each(rows, split, lambda row: row.name, read):
                    shape = image.shape[1:]
                    regions.append(np.zeros(shape, np.uint8) if mask is None else (mask > 0).astype(np.uint8))
                    yield row.name, row.label, image

            images, labels, kept = collect(items(), len(rows), self.root)
        known = split == "test" and any(row.mask for row in rows)
        return LabelledImages(
            images,
            labels,
            classes,
            kept,
            groups=tuple(groups[name] for name in kept) if groups else (),
            regions=torch.from_numpy(np.stack(regions)) if known else None,
        )


def _folders(names: list[str], above: str) -> set[str]:
    """Names of the folders that hold files, directly below the folder `above`."""
    below = [PurePosixPath(name[len(above) :]).parts for name in names if name.startswith(above)]
    return {parts[0] for parts in below if len(parts) > 1}
