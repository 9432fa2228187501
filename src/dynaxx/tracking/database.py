"""SQLite stores of MLflow: their creation, which is complete or has no effect, and a lock for their writers."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dynaxx.tracking.location import sqlite_file

ARTIFACTS = "mlruns"
"""Name of the folder of artifacts beside a SQLite store."""


@contextmanager
def exclusive(uri: str) -> Iterator[None]:
    """Lock the SQLite store at `uri` for one process, because finding and creating a run takes two statements.

    The lock is released when its process dies. Other stores have no file and are not locked.

    >>> with exclusive("sqlite:////data/mlflow.db"):
    ...     run = client.create_run(experiment)
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
    """Create the SQLite store at `uri` unless its file exists; other stores are left as they are.

    MLflow creates its tables through some fifty migrations, which take seconds. A file whose migrations are killed,
    or run by two processes at once, may never open again. So the migrations run on a draft file, which is renamed when
    complete.

    >>> create_database("sqlite:////data/mlflow.db")
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
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)  # left by a killed attempt
    _set_journal(draft, "wal")  # a write-ahead log syncs to the disk less often: 4 s instead of 7 s
    store = SqlAlchemyStore(f"sqlite:///{draft.as_posix()}", artifact_root(path))
    store.engine.dispose()
    _set_journal(draft, "delete")  # SQLite's default; a write-ahead log does not work on network file systems
    os.replace(draft, path)


def artifact_root(path: Path) -> str:
    """The URI of the folder of run artifacts beside the SQLite file `path`."""
    return (path.resolve().parent / ARTIFACTS).as_uri()


def _set_journal(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
