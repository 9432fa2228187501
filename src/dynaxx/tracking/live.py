"""Live logging to MLflow during training."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from dynaxx.tracking.client import connect, experiment_id, short_timeouts
from dynaxx.tracking.database import exclusive
from dynaxx.tracking.errors import store_error_types, store_errors
from dynaxx.tracking.escape import flatten
from dynaxx.tracking.names import arm_run_name, arm_tags
from dynaxx.tracking.provenance import source_tags
from dynaxx.tracking.runs import fill, find_runs

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
    subject: str = "",
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
        subject: data and backbone, the first words of the name of a new run.
        system_metrics: whether the load of processor, memory, disk, network and GPU is logged, too.

    Raises:
        TrackingError: the store at `uri` cannot be reached or written to.
    """
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
                run = client.create_run(group, tags=tags, run_name=arm_run_name(arm, seed, subject))
            fill(client, run, params=flatten(params), tags=source_tags())
            run_id = run.info.run_id
    return _logger_class()(experiment, uri, run_id, system_metrics)


@contextmanager
def ending_live(open_logger: "Callable[[], MLFlowLogger]") -> "Iterator[Callable[[], MLFlowLogger]]":
    """Give `open_logger` to a training; if an error, Ctrl-C or SIGTERM ends it, the run that it opened ends as FAILED.

    Lightning itself ends a run only if the error comes while it fits, and after the first value was logged.

    >>> with ending_live(lambda: live_logger("cifar10", …)) as logger:
    ...     trainer = lightning.pytorch.Trainer(logger=logger())
    """
    opened: list[MLFlowLogger] = []

    def opening() -> "MLFlowLogger":
        opened.append(open_logger())
        return opened[-1]

    try:
        yield opening
    except BaseException:
        for logger in opened:
            with suppress(*store_error_types()), short_timeouts():  # the store may be what failed
                logger.finalize("failed")
        raise


@cache
def _logger_class() -> Any:
    """The logger's class, defined on demand because Lightning and MLflow take seconds to import."""
    from lightning.pytorch.loggers import MLFlowLogger
    from lightning.pytorch.utilities import rank_zero_only
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    class LiveLogger(MLFlowLogger):
        """Logger that ends its run in any case, and records system metrics until then."""

        def __init__(self, experiment: str, uri: str, run_id: str | None, system_metrics: bool) -> None:
            super().__init__(experiment_name=experiment, tracking_uri=uri, run_id=run_id)
            self._monitor = None
            if run_id is not None and system_metrics:
                self._monitor = SystemMetricsMonitor(run_id, SAMPLING_SECONDS, resume_logging=True, tracking_uri=uri)
                self._monitor.start()

        @rank_zero_only
        def finalize(self, status: str = "success") -> None:
            """End the run, also one to which nothing was logged, which Lightning would leave open."""
            if self._monitor is not None:
                self._monitor.finish()
            _ = self.experiment  # Lightning ends no run that nothing has opened
            super().finalize(status)

    return LiveLogger
