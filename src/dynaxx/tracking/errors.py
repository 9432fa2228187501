"""The one error class of the tracking package, and how a store's own errors become it."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class TrackingError(RuntimeError):
    """Runs cannot be recorded as asked: one line that names the store or the argument, and what would do."""


@contextmanager
def store_errors(uri: str, doing: str) -> Iterator[None]:
    """Turn whatever the store at `uri` raises while `doing` something into a one-line `TrackingError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        line = (
            f"MLflow store {uri!r}: {doing} failed ({reason}); check that it runs and can be written to, "
            "or name another one in MLFLOW_TRACKING_URI (sqlite:////FOLDER/mlflow.db, http://HOST:5000)"
        )
        # A database's uri may carry its password, and error lines end up in logs.
        raise TrackingError(re.sub(r"://([^/@:]*):[^/@]*@", r"://\1:***@", line)) from error
