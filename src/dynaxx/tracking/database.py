"""Creating a SQLite store that is either whole or absent, and keeping its writers apart."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dynaxx.tracking.location import sqlite_file


@contextmanager
def exclusive(uri: str) -> Iterator[None]:
    """Hold the SQLite store at `uri` for one process: looking for a run and creating it is not one statement.

    The lock goes when its process dies. Other stores have no file to lock, and are not held.
    """
    from filelock import FileLock

    path = sqlite_file(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


def create_database(uri: str) -> None:
    """Create the SQLite store at `uri` unless its file exists; nothing to do for any other store.

    MLflow builds its tables through some fifty migrations, seconds of work. Killed in the middle, or done by
    two processes at once, they can leave a file that MLflow never opens again. So they run on a draft that is
    renamed when it is complete.
    """
    path = sqlite_file(uri)
    if path is None or path.exists():
        return
    with exclusive(uri):
        if not path.exists():
            _create(path)


def _create(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    draft = path.with_name(f"{path.name}.new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)  # what a killed attempt has left
    _set_journal(draft, "wal")  # a write-ahead log waits for the disk less often: 4 s in place of 7
    store = SqlAlchemyStore(f"sqlite:///{draft.as_posix()}", artifact_root(path))
    store.engine.dispose()
    _set_journal(draft, "delete")  # SQLite's default; a write-ahead log does not work on network file systems
    os.replace(draft, path)


def artifact_root(path: Path) -> str:
    """The folder of run artifacts beside the SQLite file `path`, as a uri."""
    return (path.resolve().parent / "mlruns").as_uri()


def _set_journal(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
