"""One interface for reading the files of a directory or of a .zip archive."""

import re
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dynaxx.data.errors import DataError, one_line

SPLITS = ("train", "test")


class Files(Protocol):
    """Named files of a directory or .zip. Names are relative, with forward slashes; folder names end with a slash."""

    def names(self) -> list[str]:
        """All names of files and folders, in no particular order."""
        ...

    def read(self, name: str) -> bytes:
        """Read the content of the file `name`."""
        ...


@contextmanager
def open_files(root: Path) -> Iterator[Files]:
    """Open a directory or a .zip for reading.

    >>> with open_files(Path("images.zip")) as files:
    ...     names = files.names()

    Raises:
        DataError: `root` does not exist, is not a zip, or is a zip with an entry that points outside its folder.
    """
    if root.is_dir():
        yield _Folder(root)
        return
    if not root.exists():
        raise DataError(f"data.root does not exist: {root}; give a directory or a .zip with train/ and test/")
    try:
        archive = zipfile.ZipFile(root)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"data.root is neither a directory nor a readable .zip: {root}: {one_line(error)}") from error
    with archive:
        for entry in archive.infolist():
            _refuse_outside(entry, root)
        yield _Zip(archive)


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        # only below train/ and test/, here or one folder down: a root given by mistake may be a whole disk
        found = []
        for split in SPLITS:
            for top in (self.root / split, *sorted(self.root.glob(f"*/{split}"))):
                if top.is_dir():
                    found += [top, *top.rglob("*")]
        return [path.relative_to(self.root).as_posix() + ("/" if path.is_dir() else "") for path in found]

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive

    def names(self) -> list[str]:
        return sorted(set(self.archive.namelist()))

    def read(self, name: str) -> bytes:
        return self.archive.read(name)


def _refuse_outside(entry: zipfile.ZipInfo, root: Path) -> None:
    # both kinds of slashes and drive letters are checked: the file may have been packed on any system
    name = entry.filename.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
        raise DataError(f"{root}: zip entry points outside its folder: {entry.filename!r}; pack it again without it")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"{root}: zip entry is a symbolic link: {entry.filename!r}; pack the file itself")
