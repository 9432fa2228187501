"""The completion of the MLflow store from the result files of the pipeline's stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaxx.tracking.artifacts import digest, upload
from dynaxx.tracking.client import connect, experiment_id
from dynaxx.tracking.database import exclusive
from dynaxx.tracking.errors import TrackingError, store_errors
from dynaxx.tracking.escape import flatten, shortened
from dynaxx.tracking.names import TAG_PIPELINE, arm_run_name, arm_tags, pipeline_tags, run_name
from dynaxx.tracking.provenance import log_dataset, source_tags
from dynaxx.tracking.runs import ending, fill, find_runs, finite_metrics

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class ChildRecord:
    """The results of one arm (competitor of the comparison) and seed, from the stages' files."""

    arm: str
    """Name of the arm, such as `explicit`."""
    seed: int
    """Seed with which the arm was trained."""
    stage_key: str
    """Key under which the training stage logged live."""
    metrics: Mapping[str, float]
    """Finite measured values, under the names of `dynaxx.tracking.names`."""
    params: Mapping[str, object]
    """Settings of the arm; nested ones are flattened with dots."""


def reconcile(
    experiment: str,
    *,
    uri: str,
    key: str,
    children: Sequence[ChildRecord],
    parent_metrics: Mapping[str, float],
    params: Mapping[str, Any],
    artifacts: Sequence[Path],
    tags: Mapping[str, str],
    subject: str = "",
    data: tuple[str, str, str] | None = None,
) -> str:
    """Ensure exactly one finished parent run of `key` in the store, with one finished child run per record.

    A run that was logged live becomes the child. A new run is created from the record if the live run is missing or
    already has another parent (two pipelines may share a stage's result). A second call changes nothing after a
    complete first call, and completes a killed one.

    >>> run_id = reconcile("cifar10", uri=tracking_uri(), key=key, children=records, parent_metrics={},
    ...                    params=params, artifacts=[Path("outputs/report")], tags={})

    Args:
        experiment: name of the MLflow experiment.
        uri: URI of the store, from `tracking_uri`.
        key: key of the pipeline, from `pipeline_key`.
        children: records of the arms and seeds.
        parent_metrics: metrics of the whole pipeline.
        params: content of params.yaml, logged on the parent.
        artifacts: files and folders to upload to the parent, each under its own name.
        tags: further tags of the parent, besides those of the commit.
        subject: data and backbone, the first words of the names of new runs.
        data: name, SHA-256 and description of the training data.

    Returns:
        Run id of the parent.

    Raises:
        TrackingError: a record or an artifact is unusable (nothing is written in this case), or the store fails.
    """
    records = _checked(children)
    own_metrics = finite_metrics("the pipeline", parent_metrics)
    checksum = digest(artifacts)
    identity = pipeline_tags(key)
    client = connect(uri)
    with store_errors(uri, "recording the pipeline's runs"), exclusive(uri):
        group = experiment_id(client, uri, experiment)
        found = find_runs(client, group, identity)
        name = run_name(subject, f"pipeline-{key[:8]}")
        parent = found[0] if found else client.create_run(group, tags=identity, run_name=name)
        with ending(client, parent):
            own_tags = source_tags() | {name: shortened(str(value)) for name, value in tags.items()} | identity
            fill(client, parent, metrics=own_metrics, params=flatten(params), tags=own_tags)
            for record in records:
                child = _child(client, group, parent, record, subject)
                with ending(client, child):
                    fill(client, child, metrics=record.metrics, params=flatten(record.params))
            if data is not None:
                log_dataset(client, parent, *data)
            upload(client, parent, artifacts, checksum)
    return parent.info.run_id


def _checked(children: Sequence[ChildRecord]) -> list[ChildRecord]:
    """Check the records as far as possible without the store, and return them with float metrics."""
    seen: set[tuple[str, int]] = set()
    for record in children:
        if (record.arm, record.seed) in seen:
            raise TrackingError(
                f"children hold arm {record.arm!r} with seed {record.seed} twice: pass one record for each"
            )
        seen.add((record.arm, record.seed))
    return [
        replace(record, metrics=finite_metrics(arm_run_name(record.arm, record.seed), record.metrics))
        for record in children
    ]


def _child(client: "MlflowClient", group: str, parent: "Run", record: ChildRecord, subject: str) -> "Run":
    """The child run of this record: an existing child, else a live run without a parent, else a new run."""
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    parent_id = parent.info.run_id
    belongs = {MLFLOW_PARENT_RUN_ID: parent_id, TAG_PIPELINE: parent.data.tags[TAG_PIPELINE]}
    identity = arm_tags(record.stage_key, record.arm, record.seed)
    runs = find_runs(client, group, identity)
    for owner in (parent_id, None):
        for run in runs:
            if run.data.tags.get(MLFLOW_PARENT_RUN_ID) == owner:
                fill(client, run, tags=belongs)
                return run
    name = arm_run_name(record.arm, record.seed, subject)
    return client.create_run(group, tags=identity | belongs, run_name=name)
