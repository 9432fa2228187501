"""The location of the MLflow store: one per repository, shared by stages that run in a copy of the repository."""

import os
import subprocess
from pathlib import Path

from dynaxx.tracking.errors import TrackingError

DEFAULT_URI = "sqlite:///mlflow.db"
SQLITE = "sqlite:///"
DVC_COPIES = (".dvc", "tmp", "exps")
"""Path of DVC's temporary copies below the root of the repository."""


def tracking_uri(configured: str | None = None) -> str:
    """The URI of the MLflow store: MLFLOW_TRACKING_URI, else `configured`, else `sqlite:///mlflow.db`.

    A relative SQLite path is resolved against the main checkout, because a store inside a DVC experiment's temporary
    copy would be deleted with the copy.

    >>> tracking_uri()
    'sqlite:////home/ann/project/mlflow.db'

    Raises:
        TrackingError: the store is in memory, where later stages cannot read it, or the path of the main checkout
            cannot be written in a SQLite URI.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or configured or DEFAULT_URI
    if uri in ("sqlite://", SQLITE) or uri.startswith(f"{SQLITE}:memory:"):
        raise TrackingError(f"tracking uri {uri!r} keeps nothing between stages: name a file, {DEFAULT_URI!r}")
    path = sqlite_file(uri)
    if path is None or path.is_absolute():
        return uri
    root = main_checkout().as_posix()
    if "%" in root or "?" in root:  # SQLAlchemy reads them as an escape and as the start of options
        raise TrackingError(f"folder {root!r} has % or ? in its path: name another one in MLFLOW_TRACKING_URI")
    return f"{SQLITE}{root}/{uri.removeprefix(SQLITE)}"


def main_checkout(start: Path | None = None) -> Path:
    """The root of the main checkout of the repository that contains `start` (default: the working directory).

    A DVC experiment's temporary copy (`ROOT/.dvc/tmp/exps/...`) is a separate git repository, so ROOT is read from its
    path. For a linked git worktree ROOT is read from git. ROOT is `start` outside a repository, or if git is missing.

    >>> main_checkout(Path("/home/ann/project/.dvc/tmp/exps/tmp1"))
    PosixPath('/home/ann/project')
    """
    folder = (start or Path.cwd()).resolve()
    for parent in folder.parents:
        if parent.parts[-3:] == DVC_COPIES:
            folder = parent.parents[2]
    ask = [
        "git",
        "-C",
        str(folder),
        "rev-parse",
        "--path-format=absolute",
        "--show-toplevel",
        "--git-common-dir",
    ]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return folder
    top, common = map(Path, answer)
    # the common directory of a submodule or a bare repository has another name and lies beside no checkout
    return common.parent if common.name == ".git" else top


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite URI (`sqlite:///relative`, `sqlite:////absolute`), None for any other store."""
    from sqlalchemy import make_url

    database = make_url(uri).database if uri.startswith(SQLITE) else None
    return Path(database) if database else None
