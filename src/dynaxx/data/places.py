"""Where in a directory or .zip a layout lies: at its top, or inside one folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from dynaxx.data.archive import is_hidden
from dynaxx.data.decode import readable_suffixes
from dynaxx.data.errors import DataError, few


def place_of(names: Iterable[str], wanted: Sequence[str], root: str | Path, layout: str) -> str:
    """What stands before the names of a layout: nothing, or a folder and a slash.

    >>> place_of(["polyps/train/images/1.png", "polyps/readme.txt"], ["train/images/"], "polyps.zip", "…")
    'polyps/'

    Args:
        names: names of files and folders.
        wanted: beginnings of names, one of which the layout has.
        root: path of the data, for messages.
        layout: the layout in words, for messages.

    Raises:
        DataError: no such place, or several.
    """
    tops, places = set(), set()
    for name in names:
        top, slash, below = name.partition("/")
        if any(map(is_hidden, name.rstrip("/").split("/"))):
            continue
        tops.add(top + slash)
        places |= {""} if name.startswith(tuple(wanted)) else {f"{top}/"} if below.startswith(tuple(wanted)) else set()
    if "" in places:
        return ""
    if len(places) > 1:
        raise DataError(f"{root}: several folders hold {' or '.join(wanted)}: {', '.join(sorted(places))}; give one")
    if not places:
        there = f"there is {few(sorted(tops))}" if tops else "there are no files"
        raise DataError(f"{root}: no {' and no '.join(wanted)}; {there}; the layout is {layout}")
    return places.pop()


def visible(names: Iterable[str]) -> list[str]:
    """The names of files, sorted, without hidden ones and what other systems left behind.

    >>> visible(["b.png", "__MACOSX/b.png", "folder/", "a.png", ".DS_Store"])
    ['a.png', 'b.png']
    """
    return sorted(name for name in names if not name.endswith("/") and not any(map(is_hidden, name.split("/"))))


def images_below(names: Iterable[str], folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """The images below a folder by their path in it without suffix, and the other files with the reason.

    >>> images_below(["a/x/1.png", "a/2.txt", "b/3.png"], "a/")
    ({'x/1': 'a/x/1.png'}, {'a/2.txt': 'of suffix .txt'})

    Raises:
        DataError: two images that differ in the suffix alone.
    """
    suffixes = readable_suffixes()
    images: dict[str, str] = {}
    others: dict[str, str] = {}
    for name in visible(names):
        if not name.startswith(folder):
            continue
        suffix = PurePosixPath(name).suffix
        if suffix.lower() not in suffixes:
            others[name] = f"of suffix {suffix.lower()}" if suffix else "without suffix"
            continue
        # systems differ in whether é is one character or two
        stem = normalize("NFC", name[len(folder) : -len(suffix)])
        if stem in images:
            raise DataError(f"{images[stem]} and {name} differ in nothing but the suffix; remove one")
        images[stem] = name
    return images, others
