"""The places of a SQLite store's artifacts, which MLflow keeps as absolute URIs, follow the store when it is moved.

Artifacts lie in the folder `mlruns` beside the database. A place in another folder of this name is a former one if

- the folder is gone: the store was moved, or is mounted elsewhere;
- a database of the same name lies beside it: this store is a copy, which has to leave the other's artifacts alone;
- an experiment lies directly in it, which MLflow itself never does: the database was moved without its artifacts. New
  artifacts go beside the database then, and old ones are read from where they are.

All other places, such as `s3://…` or a folder of another name, were chosen by somebody and stay as they are.
"""

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

from dynaxx.tracking.database import ARTIFACTS, artifact_root, exclusive
from dynaxx.tracking.errors import TrackingError
from dynaxx.tracking.location import sqlite_file

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
    ("trace_tags", "value"),
)
"""The columns that hold places."""


def bring_places_along(uri: str) -> None:
    """Replace former places of the SQLite store at `uri` by those beside the database; other stores are left alone.

    >>> bring_places_along("sqlite:////data/mlflow.db")

    Raises:
        TrackingError: the store was moved, and cannot be written to.
    """
    path = sqlite_file(uri)
    if path is None:
        return
    with closing(sqlite3.connect(path)) as database:
        former = _former(database, path)
    if not former:
        return
    try:
        with exclusive(uri), closing(sqlite3.connect(path, timeout=60)) as database, database:  # one transaction
            with_runs = [root for root in _former(database, path) if _move(database, root, path)]
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"MLflow store {str(path)!r} was moved here from {str(_folder(former[0]).parent)!r} and cannot be written "
            f"to ({error}), so its artifacts are not found: make it writable, or take a copy of its folder"
        ) from error
    for root in with_runs:
        warnings.warn(
            f"MLflow store {str(path)!r} was moved here from {str(_folder(root).parent)!r}: new artifacts go to "
            f"{str(_here(path))!r}; old ones that did not come along belong there, too",
            stacklevel=2,
        )


def _former(database: sqlite3.Connection, path: Path) -> list[str]:
    """The former roots of the store's artifacts, as they are written in its places."""
    if not _has(database, "experiments", "artifact_location"):
        return []
    former = []
    for number, place in database.execute("SELECT experiment_id, artifact_location FROM experiments"):
        root = (place or "").removesuffix(f"/{number}")
        if root in former or not root.startswith(("file:/", "/")) or _folder(root).name != ARTIFACTS:
            continue
        folder = _folder(root)
        if folder.resolve() == _here(path) or _same(folder.parent / path.name, path):
            continue
        if place == root or not folder.is_dir() or (folder.parent / path.name).exists():
            former.append(root)
    return former


def _move(database: sqlite3.Connection, root: str, path: Path) -> bool:
    """Replace the root of all places below `root`, and return whether there were runs.

    Artifacts that were left behind, and belong to no other store, stay where they are.
    """
    new, folder = artifact_root(path), _folder(root)
    alone, runs = not (folder.parent / path.name).exists(), False
    for table, column in PLACES:
        if not _has(database, table, column):
            continue
        below = f"{column} = ?1 OR substr({column}, 1, length(?1) + 1) = ?1 || '/'"
        for row, place in database.execute(f"SELECT rowid, {column} FROM {table} WHERE {below}", [root]).fetchall():
            moved, runs = new + place.removeprefix(root), runs or table == "runs"
            if table == "experiments" or not (alone and _folder(place).exists() and not _folder(moved).exists()):
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [moved, row])
    return runs


def _has(database: sqlite3.Connection, table: str, column: str) -> bool:
    """Whether the database has the column; stores of older versions of MLflow have fewer tables."""
    return column in [name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")]


def _here(path: Path) -> Path:
    return _folder(artifact_root(path))


def _folder(place: str) -> Path:
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(place))


def _same(one: Path, other: Path) -> bool:
    """Whether both are one file: a folder may be mounted in two places."""
    return one.exists() and one.samefile(other)
