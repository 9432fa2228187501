"""The folder layout train/<class>/..., test/<class>/..., recognised from file names without opening files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from dynaxx.data.archive import SPLITS, Listing, is_hidden
from dynaxx.data.decode import readable_suffixes
from dynaxx.data.errors import DataError, count_reasons, few

OTHER_NAMES = {"train": ("training",), "test": ("testing", "val", "valid", "validation", "eval", "evaluation")}
"""Names that others give to the two folders, for the message that says which to rename."""


@dataclass
class Part:
    """One of the two splits."""

    images: dict[str, list[str]] = field(default_factory=dict)
    """Sorted class -> its sorted image files."""
    left_out: dict[str, str] = field(default_factory=dict)
    """File that is not read -> the reason."""


Layout = dict[str, Part]
"""The splits by name."""


def read_layout(listing: Listing, root: Path) -> Layout:
    """Sort names into splits and classes.

    One folder around train/ and test/ is allowed. Folders inside a class folder belong to that class. Hidden files,
    __MACOSX, Thumbs.db and desktop.ini are ignored; every other file that is not read is in `left_out`, as are folders
    beside train/ and test/.

    >>> names = ["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png", "test/b/5.txt"]
    >>> layout = read_layout(Listing(names), Path("pets"))
    >>> layout["train"].images, layout["test"].left_out
    ({'a': ['train/a/1.png'], 'b': ['train/b/2.png']}, {'test/b/5.txt': 'of suffix .txt'})

    Raises:
        DataError: no train/ or no test/, several of them, an image outside a class folder, a class without
            images, fewer than two classes, or classes that differ between train and test.
    """
    for name, why in listing.lost.items():
        if name.count("/") < 2 and name.split("/")[-1] in SPLITS:
            raise DataError(f"{root}: {name} is {why}; mend or remove it")
    entries = [(name, tuple(name.rstrip("/").split("/"))) for name in (*listing.names, *listing.lost)]
    entries = [(name, parts) for name, parts in entries if not any(map(is_hidden, parts))]
    depth = _depth(entries, root)
    layout: Layout = {split: Part() for split in SPLITS}
    suffixes = readable_suffixes()
    for name, parts in sorted(entries, key=lambda entry: entry[1]):
        below = parts[depth + 1 :]
        if len(parts) > depth and parts[depth] not in SPLITS and (below or name.endswith("/")):
            folder = "/".join(parts[: depth + 1]) + "/"  # as val/: images to validate on are drawn from train/
            layout["train"].left_out[folder] = f"folder {folder} beside train/ and test/"
        if not below or parts[depth] not in SPLITS:
            continue
        part, is_folder = layout[parts[depth]], name.endswith("/")
        reason = None if is_folder else listing.lost.get(name) or _unread(name, suffixes)
        if is_folder or len(below) > 1:
            # systems differ in whether é is one character or two
            images = part.images.setdefault(normalize("NFC", below[0]), [])
        elif reason is None:
            raise DataError(f"{root}: {name} lies outside any class folder; put it into {parts[depth]}/<class>/")
        if reason:
            part.left_out[name] = reason
        elif not is_folder:
            images.append(name)
    for part in layout.values():  # labels follow this order, so it must not depend on how a name was written
        part.images = dict(sorted(part.images.items()))
    _check(layout, _folders(entries, depth), root)
    return layout


def _unread(name: str, suffixes: frozenset[str]) -> str | None:
    """Why a file is not read, judged by its name; None if it is an image."""
    suffix = PurePosixPath(name).suffix.lower()
    return None if suffix in suffixes else f"of suffix {suffix}" if suffix else "without suffix"


Entries = list[tuple[str, tuple[str, ...]]]


def _folders(entries: Entries, depth: int) -> list[str]:
    """Names of the folders that lie `depth` folders down."""
    inside = [parts if name.endswith("/") else parts[:-1] for name, parts in entries]
    return sorted({parts[depth] for parts in inside if len(parts) > depth})


def _depth(entries: Entries, root: Path) -> int:
    """Number of folders that enclose train/ and test/: 0 or 1."""
    tops = _folders(entries, 0)
    if set(tops) & set(SPLITS):
        return 0
    around = [top for top in tops if set(_folders([e for e in entries if e[1][0] == top], 1)) & set(SPLITS)]
    if len(around) > 1:
        raise DataError(f"{root}: several folders hold train/ or test/: {', '.join(around)}; give one of them")
    if not around:
        above = tops[0] if len(tops) == 1 and _folders(entries, 1) else ""
        raise _missing(SPLITS, _folders(entries, 1) if above else tops, root, above)
    return 1


def _missing(splits: Sequence[str], there: Sequence[str], root: Path, above: str = "") -> DataError:
    """The error for splits without a folder; `there` are the folders in their place, in the folder `above`."""
    told = f"{root}: no {' and no '.join(f'{split}/' for split in splits)} folder; "
    shown = few([f"{above}/{name}/".lstrip("/") for name in there])
    told += f"there is {shown}; " if there else "there are no folders; "
    renamed = [f"{name}/ to {split}/" for split in splits if (name := _meant(split, there))]
    if renamed:
        return DataError(f"{told}rename {' and '.join(renamed)}")
    path = root.absolute()
    for inside in (path, path.parent) if root.is_dir() else ():
        if inside.name.lower() in SPLITS:
            return DataError(f"{told}give the folder that holds {inside.name}/, {inside.parent}")
    return DataError(f"{told}the layout is {' and '.join(f'{split}/<class>/' for split in splits)}")


def _meant(split: str, there: Sequence[str]) -> str | None:
    named = [name for name in there if name not in SPLITS and name.lower() in (split, *OTHER_NAMES[split])]
    return min(named, key=lambda name: (split, *OTHER_NAMES[split]).index(name.lower()), default=None)


def _check(layout: Layout, there: Sequence[str], root: Path) -> None:
    if absent := [split for split in SPLITS if split not in there]:
        raise _missing(absent, there, root)
    for split in SPLITS:
        if not layout[split].images:
            raise DataError(f"{root}: no {split}/ folder with one folder per class; the layout is {split}/<class>/")
    train, test = (layout[split].images.keys() for split in SPLITS)
    if train != test:
        only = [
            f"only in {split}/: {', '.join(sorted(some))}"
            for split, some in (("train", train - test), ("test", test - train))
            if some
        ]
        raise DataError(
            f"{root}: classes differ between train and test ({'; '.join(only)}); "
            "give both the same class folders, of the same names"
        )
    if len(train) == 1:
        raise DataError(f"{root}: there is only one class, {min(train)}; add the folders of the others to both splits")
    for split, part in layout.items():
        for name, images in part.images.items():
            if not images:
                raise _empty(split, name, part, root)


def _empty(split: str, name: str, part: Part, root: Path) -> DataError:
    """The error for a class without images."""
    inside = {file: why for file, why in part.left_out.items() if f"{split}/{name}/" in normalize("NFC", file)}
    if not inside:
        return DataError(f"{root}: class {split}/{name} has no images; add some or remove the folder")
    return DataError(
        f"{root}: class {split}/{name} has no images that can be read, but files: {count_reasons(inside)}; "
        "give them the suffix of their format, or convert them to .png (.heic is read if pillow-heif is installed)"
    )
