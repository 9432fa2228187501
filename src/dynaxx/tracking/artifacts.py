"""The upload of a pipeline's files as artifacts of its MLflow run."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dynaxx.tracking.errors import TrackingError
from dynaxx.tracking.names import TAG_ARTIFACTS

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


def digest(artifacts: Sequence[Path]) -> str:
    """SHA-256, in hex, of the names and contents of files and folders.

    >>> digest([Path("params.yaml"), Path("outputs/report")])[:8]
    '5d41402a'

    Raises:
        TrackingError: a path is missing or cannot be read, or two paths have the same name.
    """
    for name, count in Counter(path.name for path in artifacts).items():
        if count > 1:
            raise TrackingError(f"artifacts hold {count} paths named {name!r}: give each a name of its own")
    total = hashlib.sha256()
    for path in sorted(artifacts, key=lambda path: path.name):
        if not path.exists():
            raise TrackingError(f"artifact {str(path)!r} does not exist: run the stage that writes it first")
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            try:
                with file.open("rb") as content:
                    total.update(f"{file.relative_to(path.parent).as_posix()}\0".encode())
                    total.update(hashlib.file_digest(content, "sha256").digest())
            except OSError as error:
                raise TrackingError(f"artifact {str(file)!r} cannot be read: {error.strerror}") from error
    return total.hexdigest()


def upload(client: "MlflowClient", run: "Run", artifacts: Sequence[Path], checksum: str) -> None:
    """Upload `artifacts` unless `run` already holds them; a tag with their checksum is written after the upload."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    run_id = run.info.run_id
    held = {item.path for item in client.list_artifacts(run_id)}
    if run.data.tags.get(TAG_ARTIFACTS) == checksum and held >= {path.name for path in artifacts}:
        return
    # the client's own methods remember a place by the run's id, and would write to a store of which this one is a copy
    place = get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri)
    for path in artifacts:
        if path.is_dir():
            place.log_artifacts(str(path), path.name)
        else:
            place.log_artifact(str(path))
    client.set_tag(run_id, TAG_ARTIFACTS, checksum)
