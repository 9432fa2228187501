"""The error class of the tracking package, and the conversion of errors of the MLflow store."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class TrackingError(RuntimeError):
    """Runs that cannot be recorded; the message is one line with the store or argument, and the remedy."""


@contextmanager
def store_errors(uri: str, doing: str) -> Iterator[None]:
    """Convert errors of the store at `uri` during the action `doing` to a one-line `TrackingError`."""
    try:
        yield
    except store_error_types() as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        line = (
            f"MLflow store {uri!r}: {doing} failed ({reason}); check that it runs and can be written to, "
            "or name another one in MLFLOW_TRACKING_URI (sqlite:////FOLDER/mlflow.db, http://HOST:5000)"
        )
        # a database's URI may contain its password, and error lines end up in logs
        raise TrackingError(re.sub(r"://([^/@:]*):[^/@]*@", r"://\1:***@", line)) from error


def store_error_types() -> tuple[type[Exception], ...]:
    """The errors of a store that is away, damaged or full; a function, because MLflow takes seconds to import."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError
