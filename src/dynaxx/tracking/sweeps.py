"""A sweep (hyperparameter search) in MLflow: a parent run with one nested run per trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaxx.tracking.artifacts import digest, upload
from dynaxx.tracking.client import connect, experiment_id
from dynaxx.tracking.database import exclusive
from dynaxx.tracking.errors import store_errors
from dynaxx.tracking.escape import dotted, shortened
from dynaxx.tracking.names import TAG_STATE, run_name, sweep_tags, trial_tags
from dynaxx.tracking.provenance import source_tags
from dynaxx.tracking.runs import ending, fill, find_runs, finite_metrics

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

STATUS = {"RUNNING": "RUNNING", "WAITING": "SCHEDULED", "COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}
"""State of a trial → status of its MLflow run."""


@dataclass(frozen=True)
class TrialRecord:
    """The settings and results of one trial of a study.

    >>> record = TrialRecord(3, "COMPLETE", {"resonance.T": 4}, {"val/accuracy": 0.9})

    Attributes:
        number: number of the trial in its study.
        state: state of the trial, a key of `STATUS`.
        params: tuned parameters, dotted key of params.yaml → value.
        metrics: finite values, under the names of `dynaxx.tracking.names`.
        curves: metric → value at each step, from 0.
    """

    number: int
    state: str
    params: Mapping[str, object]
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


def record_trial(experiment: str, study: str, record: TrialRecord, *, uri: str, subject: str = "") -> None:
    """Create or complete the MLflow run of one trial.

    >>> record_trial("cifar10", "first", TrialRecord(3, "RUNNING", {"resonance.T": 4}), uri=tracking_uri())

    Args:
        experiment: name of the MLflow experiment.
        study: name of the study, any text.
        record: settings and results of the trial.
        uri: URI of the store, from `tracking_uri`.
        subject: data, backbone and arm, the first words of the names of new runs.

    Raises:
        TrackingError: a metric is not a finite number, or the store fails.
    """
    client = connect(uri)
    with store_errors(uri, f"recording trial {record.number}"), exclusive(uri):
        group = experiment_id(client, uri, experiment)
        _record(client, group, _parent(client, group, study, subject), study, record, subject)


def fail_sweep(experiment: str, study: str, *, uri: str) -> None:
    """End the parent run of a study that an error or Ctrl-C ended; the next trial or `record_sweep` opens it again.

    >>> fail_sweep("cifar10", "first", uri=tracking_uri())

    Raises:
        TrackingError: the store fails.
    """
    client = connect(uri)
    with store_errors(uri, "ending the sweep's run"), exclusive(uri):
        for parent in _parents(client, experiment_id(client, uri, experiment), study):
            client.set_terminated(parent.info.run_id, "FAILED")


def record_sweep(
    experiment: str,
    study: str,
    records: Sequence[TrialRecord],
    *,
    uri: str,
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    artifacts: Sequence[Path],
    tags: Mapping[str, str],
    subject: str = "",
) -> str:
    """Ensure one finished parent run of `study`, with one child run per record, and return the parent's run id.

    A second call changes nothing. Runs are created here for trials whose worker was killed before it could write.

    >>> run_id = record_sweep("cifar10", "first", records, uri=tracking_uri(), metrics={},
    ...                       params=params, artifacts=[Path("sweep.html")], tags={})

    Raises:
        TrackingError: a metric or an artifact is unusable (nothing is written in this case), or the store fails.
    """
    own_metrics, checksum = finite_metrics("the sweep", metrics), digest(artifacts)
    client = connect(uri)
    with store_errors(uri, "recording the sweep's runs"), exclusive(uri):
        group = experiment_id(client, uri, experiment)
        parent = _parent(client, group, study, subject)
        with ending(client, parent):
            for record in records:
                _record(client, group, parent, study, record, subject)
            for other in _parents(client, group, study)[1:]:  # duplicates, created by workers at the same moment
                client.delete_run(other.info.run_id)
            own_tags = source_tags() | {name: shortened(str(value)) for name, value in tags.items()}
            fill(client, parent, metrics=own_metrics, params=dotted(params), tags=own_tags)
            upload(client, parent, artifacts, checksum)
    return parent.info.run_id


def _parent(client: "MlflowClient", group: str, study: str, subject: str) -> "Run":
    """The study's parent run; a missing run is created. If two exist, the older one counts."""
    found = _parents(client, group, study)
    if not found:
        client.create_run(group, tags=sweep_tags(study), run_name=run_name(subject, f"sweep-{study}"))
        found = _parents(client, group, study)
    if found[0].info.status == "FAILED":
        client.update_run(found[0].info.run_id, status="RUNNING")
    return found[0]


def _parents(client: "MlflowClient", group: str, study: str) -> "list[Run]":
    """All parent runs of the study, oldest first; runs of the same millisecond are sorted by id."""
    found = find_runs(client, group, sweep_tags(study))
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


def _record(client: "MlflowClient", group: str, parent: "Run", study: str, record: TrialRecord, subject: str) -> None:
    from mlflow.entities import Metric
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    identity = trial_tags(study, record.number)
    metrics = finite_metrics(f"trial {record.number}", record.metrics)
    found = find_runs(client, group, identity)
    tags = identity | {MLFLOW_PARENT_RUN_ID: parent.info.run_id}
    name = run_name(subject, f"trial-{record.number}")
    run = found[0] if found else client.create_run(group, tags=tags, run_name=name)
    fill(client, run, metrics=metrics, params=dotted(record.params), tags=tags | {TAG_STATE: record.state})
    for name, values in record.curves.items():
        if name not in run.data.metrics:
            history = [Metric(name, value, run.info.start_time + step, step) for step, value in enumerate(values)]
            client.log_batch(run.info.run_id, metrics=history)
    status = STATUS[record.state]
    if run.info.status != status and status in ("FINISHED", "FAILED"):
        client.set_terminated(run.info.run_id, status)
    elif run.info.status != status:
        client.update_run(run.info.run_id, status=status)
