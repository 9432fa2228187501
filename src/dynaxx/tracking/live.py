"""Logging to MLflow while a stage trains."""

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
"""Seconds between two looks at processor, memory, disk, network and GPU; MLflow's own variables win over it."""


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
    """A Lightning logger that writes to the run of this stage key, arm and seed, created when there is none.

    A stage that was killed and starts again continues its run. `reconcile` makes the run a child of its
    pipeline. Under DDP only rank 0 opens a run; the other ranks get a logger that writes nothing. While it is open,
    what the machine is busy with goes to the run, too, unless `system_metrics` is false.

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
    """The logger's class; made late, as Lightning and MLflow take seconds to import."""
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    class MonitoredLogger(MLFlowLogger):
        """Logs the machine's state until Lightning ends the run."""

        def __init__(self, experiment: str, uri: str, run_id: str) -> None:
            super().__init__(experiment_name=experiment, tracking_uri=uri, run_id=run_id)
            self._monitor = SystemMetricsMonitor(run_id, SAMPLING_SECONDS, resume_logging=True, tracking_uri=uri)
            self._monitor.start()

        def finalize(self, status: str = "success") -> None:
            self._monitor.finish()
            super().finalize(status)

    return MonitoredLogger
