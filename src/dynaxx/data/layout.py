"""The folder layout train/<class>/..., test/<class>/..., recognised from file names without opening files."""

from collections.abc import Iterable
from pathlib import Path

from dynaxx.data.archive import SPLITS
from dynaxx.data.errors import DataError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

Layout = dict[str, dict[str, list[str]]]
"""Sorted image names per sorted class per split: split -> class -> names."""


def read_layout(names: Iterable[str], root: Path) -> Layout:
    """Sort file names (folders end with a slash) into splits and classes.

    One folder around train/ and test/ is allowed. Hidden files, __MACOSX and files without an image suffix are
    ignored. Folders inside a class folder belong to that class.

    >>> read_layout(["train/cat/1.png", "test/cat/2.png"], Path("pets"))
    {'train': {'cat': ['train/cat/1.png']}, 'test': {'cat': ['test/cat/2.png']}}

    Raises:
        DataError: no train/ or no test/, several of them, an image outside a class folder, a class without
            images, or classes that differ between train and test.
    """
    entries = [(name, tuple(name.rstrip("/").split("/"))) for name in names]
    entries = [(name, parts) for name, parts in entries if not any(map(_is_hidden, parts))]
    depth = _depth(entries, root)
    layout: Layout = {split: {} for split in SPLITS}
    for name, parts in sorted(entries, key=lambda entry: entry[1]):
        is_image = name.lower().endswith(IMAGE_SUFFIXES)
        below = parts[depth:]
        if not below or below[0] not in SPLITS:
            continue
        if len(below) == 2 and is_image:
            raise DataError(f"{root}: {name} lies outside any class folder; put it into {below[0]}/<class>/")
        if len(below) > 2 or (len(below) == 2 and name.endswith("/")):
            images = layout[below[0]].setdefault(below[1], [])
            if is_image:
                images.append(name)
    _check(layout, root)
    return layout


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _depth(entries: list[tuple[str, tuple[str, ...]]], root: Path) -> int:
    """Number of folders that enclose train/ and test/: 0 or 1."""
    folders = [parts if name.endswith("/") else parts[:-1] for name, parts in entries]
    if any(parts[0] in SPLITS for parts in folders if parts):
        return 0
    around = sorted({parts[0] for parts in folders if len(parts) > 1 and parts[1] in SPLITS})
    if len(around) > 1:
        raise DataError(f"{root}: several folders hold train/ or test/: {', '.join(around)}; give one of them")
    if not around:
        raise DataError(f"{root}: no train/ and no test/ folder; the layout is train/<class>/ and test/<class>/")
    return 1


def _check(layout: Layout, root: Path) -> None:
    for split, by_class in layout.items():
        if not by_class:
            raise DataError(f"{root}: no {split}/ folder with one folder per class; the layout is {split}/<class>/")
    train, test = (set(layout[split]) for split in SPLITS)
    if train != test:
        only = [
            f"only in {split}/: {', '.join(sorted(some))}"
            for split, some in (("train", train - test), ("test", test - train))
            if some
        ]
        raise DataError(f"{root}: classes differ between train and test ({'; '.join(only)})")
    for split, by_class in layout.items():
        for name, images in by_class.items():
            if not images:
                raise DataError(f"{root}: class {split}/{name} has no images; add some or remove the folder")
