"""MLflow runs: the search by tags, updates that write only what a run lacks, and the end, as FINISHED or FAILED."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from dynaxx.tracking.client import short_timeouts
from dynaxx.tracking.errors import TrackingError, store_error_types

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

BATCH = 100  # MLflow takes no more parameters in one call


def find_runs(client: "MlflowClient", experiment: str, tags: Mapping[str, str]) -> list["Run"]:
    """The runs in the experiment with id `experiment` that have all `tags`, oldest first, without deleted runs.

    MLflow's filters know no escape for quotes: `tags` come from `dynaxx.tracking.names`, where values are escaped.

    >>> find_runs(client, "1", pipeline_tags(key))
    """
    filter_string = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([experiment], filter_string, order_by=["attributes.start_time ASC"]))


def finite_metrics(owner: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Convert `metrics` to floats.

    >>> finite_metrics("explicit/seed-0", {"test/accuracy": 0.9})
    {'test/accuracy': 0.9}

    Raises:
        TrackingError: a value is NaN, infinite or not a number. MLflow would show such a value as 0 or 1.8e308.
    """
    checked: dict[str, float] = {}
    for name, value in metrics.items():
        try:
            checked[name] = float(value)
        except (TypeError, ValueError):
            checked[name] = math.nan
        if not math.isfinite(checked[name]):
            raise TrackingError(
                f"metric {name!r} of {owner} is {value!r}, no finite number: leave out what was not measured"
            )
    return checked


def fill(
    client: "MlflowClient",
    run: "Run",
    *,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write metrics, parameters and tags that `run` does not hold yet. A parameter keeps its first value."""
    from mlflow.entities import Param, RunTag

    new_metrics = _changed(client, run, metrics or {})
    new_params = [Param(name, value) for name, value in (params or {}).items() if name not in run.data.params]
    new_tags = [RunTag(name, value) for name, value in (tags or {}).items() if run.data.tags.get(name) != value]
    for start in range(0, max(len(new_metrics), len(new_params), len(new_tags)), BATCH):
        part = slice(start, start + BATCH)
        client.log_batch(run.info.run_id, new_metrics[part], new_params[part], new_tags[part])


def _changed(client: "MlflowClient", run: "Run", metrics: Mapping[str, float]) -> list["Metric"]:
    """New points for those metrics whose latest value in `run` differs.

    MLflow's latest value is the one with the highest step, so a new point takes the step of the latest one.
    """
    from mlflow.entities import Metric

    now, points = int(time.time() * 1000), []
    for name, value in metrics.items():
        if run.data.metrics.get(name) == value:
            continue
        history = client.get_metric_history(run.info.run_id, name) if name in run.data.metrics else []
        step = max((point.step for point in history), default=0)
        points.append(Metric(name, value, max([now, *(point.timestamp + 1 for point in history)]), step))
    return points


@contextmanager
def ending(client: "MlflowClient", run: "Run") -> Iterator[None]:
    """End `run` with the block: as FAILED if an error or Ctrl-C ends it; a finished run keeps its end time."""
    try:
        yield
    except BaseException:
        with suppress(*store_error_types()), short_timeouts():  # the store's own failure may be what ends the block
            client.set_terminated(run.info.run_id, "FAILED")
        raise
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id, "FINISHED")
