"""Live logging to MLflow during training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dynaxx.tracking.client import connect, experiment_id
from dynaxx.tracking.database import exclusive
from dynaxx.tracking.errors import store_errors
from dynaxx.tracking.names import arm_run_name, arm_tags
from dynaxx.tracking.provenance import source_tags
from dynaxx.tracking.runs import fill, find_runs, flatten

if TYPE_CHECKING:
    from lightning.pytorch.loggers import MLFlowLogger


SAMPLING_SECONDS = 5.0
"""Seconds between two samples of the system metrics; MLflow's own environment variables take precedence."""


def live_logger(
    experiment: str,
    *,
    stage_key: str,
    arm: str,
    seed: int,
    uri: str,
    params: Mapping[str, Any],
    system_metrics: bool = True,
) -> "MLFlowLogger":
    """A Lightning logger for the MLflow run of this stage key, arm and seed; a missing run is created.

    A stage that was killed and starts again continues its run. `reconcile` makes it a child of the pipeline's run.
    Under DDP only rank 0 opens a run; the loggers of the other ranks write nothing.

    >>> logger = live_logger("cifar10", stage_key=key, arm="explicit", seed=0, uri=tracking_uri(), params={"lr": 1e-3})
    >>> trainer = lightning.pytorch.Trainer(logger=logger)

    Args:
        experiment: name of the MLflow experiment.
        stage_key: key of the training stage, the same at every start of the stage.
        arm, seed: arm (competitor of the comparison) and seed that are trained.
        uri: URI of the store, from `tracking_uri`.
        params: settings to log; nested ones are flattened with dots.
        system_metrics: whether the load of processor, memory, disk, network and GPU is logged, too.

    Raises:
        TrackingError: the store at `uri` cannot be reached or written to.
    """
    from lightning.pytorch.loggers import MLFlowLogger
    from lightning.pytorch.utilities import rank_zero_only

    client = connect(uri)
    run_id = None
    if getattr(rank_zero_only, "rank", 0) == 0:
        tags = arm_tags(stage_key, arm, seed)
        with store_errors(uri, f"opening the run of {arm_run_name(arm, seed)}"), exclusive(uri):
            group = experiment_id(client, uri, experiment)
            if found := find_runs(client, group, tags):
                run = found[0]
                client.update_run(run.info.run_id, status="RUNNING")
            else:
                run = client.create_run(group, tags=tags, run_name=arm_run_name(arm, seed))
            fill(client, run, params=flatten(params), tags=source_tags())
            run_id = run.info.run_id
    if run_id is None or not system_metrics:
        return MLFlowLogger(experiment_name=experiment, tracking_uri=uri, run_id=run_id)
    return _monitored_logger()(experiment, uri, run_id)


def _monitored_logger() -> Any:
    """The logger's class, defined on demand because Lightning and MLflow take seconds to import."""
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    class MonitoredLogger(MLFlowLogger):
        """Logger that also records system metrics until Lightning ends the run."""

        def __init__(self, experiment: str, uri: str, run_id: str) -> None:
            super().__init__(experiment_name=experiment, tracking_uri=uri, run_id=run_id)
            self._monitor = SystemMetricsMonitor(run_id, SAMPLING_SECONDS, resume_logging=True, tracking_uri=uri)
            self._monitor.start()

        def finalize(self, status: str = "success") -> None:
            self._monitor.finish()
            super().finalize(status)

    return MonitoredLogger
