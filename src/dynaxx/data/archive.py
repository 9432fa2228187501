"""One interface for reading the files of a directory or of a .zip archive."""

import os
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dynaxx.data.errors import DataError, one_line

SPLITS = ("train", "test")

_FOLDER_OF_DOS, _SAYS_UTF8 = 0x10, 0x800  # an attribute and a flag of zip entries


@dataclass
class Listing:
    """The names in a directory or .zip: relative, with forward slashes; those of folders end with a slash."""

    names: list[str] = field(default_factory=list)
    """Names of files and folders, in no particular order."""
    links: list[str] = field(default_factory=list)
    """Names of the folders among them that are links; they are read as the folders that they lead to."""
    lost: dict[str, str] = field(default_factory=dict)
    """Name -> reason, for names that cannot be opened as a file or folder, such as a link to nothing."""


class Files(Protocol):
    """Named files of a directory or .zip."""

    def listing(self, folders: Sequence[str] = SPLITS) -> Listing:
        """The names below these folders, and those of the folders beside them."""
        ...

    def near(self) -> list[str]:
        """Names of the files in the folder itself and in the folders in it."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        ...

    def size(self, name: str) -> int:
        """Number of bytes of the file `name`."""
        ...

    def read(self, name: str) -> bytes:
        """Read the content of the file `name`."""
        ...


@contextmanager
def open_files(root: Path) -> Iterator[Files]:
    """Open a directory or a .zip for reading.

    >>> with open_files(Path("images.zip")) as files:
    ...     names = files.listing().names

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
        yield _Zip(archive, root)


def is_hidden(part: str) -> bool:
    """Whether a file or folder of this name is no data: hidden, or left behind by macOS or Windows."""
    return part.startswith(".") or part.lower() in ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini")


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root

    def listing(self, folders: Sequence[str] = SPLITS) -> Listing:
        # only below the folders, here or one folder down: a root given by mistake may be a whole disk
        found = Listing()
        try:
            tops = [] if _holds_one(self.root, folders) else [top for top in _entries(self.root) if os.path.isdir(top)]
            around = [top for top in tops if len(tops) == 1 or _holds_one(top, folders)]
            found.links = [self._name(top) for top in around if top.is_symlink()]
            for holder in (self.root, *around):
                real = Path(os.path.realpath(holder))
                for entry in _entries(holder):
                    if entry.name in folders:
                        self._add(entry, found, {real, *real.parents})
                    elif os.path.isdir(entry):
                        found.names.append(self._name(entry) + "/")
        except OSError as error:
            raise DataError(f"{self.root}: cannot be listed: {one_line(error)}; make its folders readable") from error
        return found

    def near(self) -> list[str]:
        try:
            tops = _entries(self.root)
            inner = [entry for top in tops if os.path.isdir(top) for entry in _entries(top)]
        except OSError as error:
            raise DataError(f"{self.root}: cannot be listed: {one_line(error)}; make its folders readable") from error
        return [self._name(entry) for entry in (*tops, *inner) if os.path.isfile(entry)]

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def size(self, name: str) -> int:
        return (self.root / name).stat().st_size

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def _name(self, entry: os.DirEntry[str]) -> str:
        return Path(entry).relative_to(self.root).as_posix()

    def _add(self, entry: os.DirEntry[str], found: Listing, around: set[Path]) -> None:
        """Add a file, or a folder with all that it holds; `around` are the real paths of the folders that hold it."""
        name = self._name(entry)
        if entry.is_file(follow_symlinks=False) or os.path.isfile(entry):
            found.names.append(name)
        elif os.path.isdir(entry):
            real = Path(os.path.realpath(entry))
            if real in around:
                raise DataError(f"{self.root}: {name} is a link to {real}, a folder that holds it; remove the link")
            if entry.is_symlink():
                found.links.append(name)
            found.names.append(name + "/")
            for inner in _entries(entry):
                self._add(inner, found, {real, *around})
        else:
            found.lost[name] = "linked to nothing" if entry.is_symlink() else "no regular file"


class _Zip:
    def __init__(self, archive: zipfile.ZipFile, root: Path) -> None:
        self.archive = archive
        self.entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            name = _checked_name(entry, root)
            other = self.entries.setdefault(name, entry)
            if other.filename != entry.filename and not name.endswith("/"):
                raise DataError(
                    f"{root}: zip entries {other.filename!r} and {entry.filename!r} are one file, {name}; remove one"
                )
            self.entries[name] = entry

    def listing(self, folders: Sequence[str] = SPLITS) -> Listing:
        return Listing(list(self.entries))

    def near(self) -> list[str]:
        return [name for name in self.entries if name.count("/") < 2 and self.has(name)]

    def has(self, name: str) -> bool:
        return name in self.entries and not name.endswith("/")

    def size(self, name: str) -> int:
        return self.entries[name].file_size

    def read(self, name: str) -> bytes:
        return self.archive.read(self.entries[name])


def _entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)


def _holds_one(folder: os.PathLike[str], folders: Sequence[str]) -> bool:
    return any(os.path.lexists(os.path.join(folder, name)) for name in folders)


def _checked_name(entry: zipfile.ZipInfo, root: Path) -> str:
    """The name of a zip's entry with forward slashes; it may have been packed on any system."""
    name = _decoded(entry).replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in parts:
        raise DataError(f"{root}: zip entry points outside its folder: {entry.filename!r}; pack it again without it")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"{root}: zip entry is a symbolic link: {entry.filename!r}; pack the file itself")
    is_folder = name.endswith("/") or entry.external_attr & _FOLDER_OF_DOS
    return "/".join(part for part in parts if part not in ("", ".")) + "/" * bool(is_folder)


def _decoded(entry: zipfile.ZipInfo) -> str:
    """The entry's name; some systems write UTF-8 and do not say so, and zipfile then reads code page 437."""
    if entry.flag_bits & _SAYS_UTF8:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename
