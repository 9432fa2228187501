"""A connected MLflow client, through which all calls of this package reach the store."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dynaxx.tracking.database import ARTIFACTS, artifact_root, create_database
from dynaxx.tracking.errors import TrackingError, store_errors
from dynaxx.tracking.escape import NAME_BYTES, shortened
from dynaxx.tracking.location import main_checkout, sqlite_file
from dynaxx.tracking.places import bring_places_along

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# Set before MLflow is imported. By default: no telemetry, no lines about migrations, no URLs printed per child run.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def connect(uri: str) -> "MlflowClient":
    """Connect to the store at `uri` and check that it responds; a missing SQLite store is created, a moved one mended.

    >>> client = connect("sqlite:////data/mlflow.db")

    Raises:
        TrackingError: the store is a folder, which MLflow no longer supports, or does not respond within seconds.
    """
    if urlsplit(uri).scheme in ("", "file"):
        raise TrackingError(
            f"tracking uri {uri!r} is a folder, and MLflow no longer keeps runs in folders: "
            "use sqlite:////FOLDER/mlflow.db or http://HOST:5000"
        )
    from mlflow.tracking import MlflowClient

    with store_errors(uri, "connecting"), short_timeouts():
        create_database(uri)
        bring_places_along(uri)
        if is_database(uri):
            _probe(uri)
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """The id of the experiment `name`; a missing one is created, with an absolute artifact location.

    >>> experiment_id(connect(uri), uri, "cifar10")
    '1'

    Raises:
        TrackingError: there is no name, or an experiment of this name was deleted; MLflow keeps the name until it is
            purged.
    """
    name = experiment_name(name)
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(uri))
        except MlflowException as error:  # another worker may have created it first
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            return experiment_id(client, uri, name)
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"MLflow experiment {name!r} was deleted: `mlflow experiments restore --experiment-id "
            f"{found.experiment_id}` brings it back, or configure another name"
        )
    return found.experiment_id


def experiment_name(configured: object) -> str:
    """The name of an experiment as MLflow takes it: any text, a long one shortened.

    >>> experiment_name("cats & dogs")
    'cats & dogs'

    Raises:
        TrackingError: there is no name.
    """
    name = "" if configured is None else str(configured)
    if not name.strip():
        raise TrackingError(f"tracking.experiment={configured!r}: give MLflow's experiment a name, for example dynaxx")
    return shortened(name, NAME_BYTES)


def is_database(uri: str) -> bool:
    """Whether `uri` is a database that MLflow accesses directly, without a server."""
    from mlflow.store.db.db_types import DATABASE_ENGINES

    return urlsplit(uri).scheme.partition("+")[0] in DATABASE_ENGINES


def _artifact_location(uri: str) -> str | None:
    """Artifact location of a new experiment; None for a server, which chooses it itself."""
    if path := sqlite_file(uri):
        return artifact_root(path)
    return (main_checkout() / ARTIFACTS).as_uri() if is_database(uri) else None


def _probe(uri: str) -> None:
    """List the tables of a database once, because MLflow would retry a damaged or absent one for 100 seconds."""
    from sqlalchemy import create_engine, inspect

    engine = create_engine(uri)
    try:
        inspect(engine).get_table_names()
    finally:
        engine.dispose()


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Limit requests to two attempts of 10 s: MLflow's own 7 retries take 4 minutes on a server that is down."""
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    ours = {name: value for name, value in limits.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
