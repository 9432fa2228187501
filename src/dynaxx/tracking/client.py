"""A connected MLflow client: every call of this package reaches the store through it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dynaxx.tracking.database import artifact_root, create_database
from dynaxx.tracking.errors import TrackingError, store_errors
from dynaxx.tracking.location import main_checkout, sqlite_file

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# Before MLflow is imported: no telemetry, no lines about migrations, no two lines a child, unless asked for.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def connect(uri: str) -> "MlflowClient":
    """A client of the store at `uri` that has answered once; a SQLite store that is not there is created.

    Raises:
        TrackingError: the store is a folder, which MLflow has given up, or it does not answer within seconds.
    """
    if urlsplit(uri).scheme in ("", "file"):
        raise TrackingError(
            f"tracking uri {uri!r} is a folder, and MLflow no longer keeps runs in folders: "
            "use sqlite:////FOLDER/mlflow.db or http://HOST:5000"
        )
    from mlflow.tracking import MlflowClient

    with store_errors(uri, "connecting"), _short_timeouts():
        create_database(uri)
        if is_database(uri):
            _probe(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """The id of the experiment `name`, created when there is none; its artifacts get an absolute place.

    Raises:
        TrackingError: an experiment of this name was deleted; MLflow keeps the name until it is purged.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(uri))
        except MlflowException as error:  # of several workers another one was quicker
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            return experiment_id(client, uri, name)
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"MLflow experiment {name!r} was deleted: `mlflow experiments restore --experiment-id "
            f"{found.experiment_id}` brings it back, or configure another name"
        )
    return found.experiment_id


def is_database(uri: str) -> bool:
    """Whether MLflow talks to `uri` as a database, with no server between."""
    from mlflow.store.db.db_types import DATABASE_ENGINES

    return urlsplit(uri).scheme.partition("+")[0] in DATABASE_ENGINES


def _artifact_location(uri: str) -> str | None:
    """Where a new experiment keeps its artifacts; a server decides that itself."""
    if path := sqlite_file(uri):
        return artifact_root(path)
    return (main_checkout() / "mlruns").as_uri() if is_database(uri) else None


def _probe(uri: str) -> None:
    """Ask a database for its tables: MLflow itself would retry a damaged or absent one for 100 seconds."""
    from sqlalchemy import create_engine, inspect

    engine = create_engine(uri)
    try:
        inspect(engine).get_table_names()
    finally:
        engine.dispose()


@contextmanager
def _short_timeouts() -> Iterator[None]:
    """Ask a server twice at most, 10 s each: MLflow's own 7 retries spend 4 minutes on one that is down."""
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    ours = {name: value for name, value in limits.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
