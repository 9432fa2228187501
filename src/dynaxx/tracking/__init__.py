"""Tracking of pipeline runs in MLflow. No other package of Dynaxx imports MLflow.

Training stages log live, with one run per arm (competitor of the comparison) and seed (`live_logger`). The last stage
completes the store from the files of all stages (`reconcile`): one parent run per `pipeline_key`, one child run per arm
and seed. A sweep has a parent
run and one run per trial (`record_trial`, `record_sweep`). The winner of an A/B comparison becomes a registered model
(`register`).
"""

from dynaxx.tracking.client import connect, experiment_name
from dynaxx.tracking.errors import TrackingError
from dynaxx.tracking.escape import NAME_BYTES, escaped
from dynaxx.tracking.key import pipeline_key
from dynaxx.tracking.live import ending_live, live_logger
from dynaxx.tracking.location import main_checkout, tracking_uri
from dynaxx.tracking.names import (
    COST_GFLOPS,
    COST_LATENCY_P50_MS,
    COST_LATENCY_P90_MS,
    COST_LATENCY_P99_MS,
    COST_LATENCY_RATIO,
    COST_PEAK_MEMORY_MB,
    COST_THROUGHPUT_PER_S,
    COST_TRAIN_SECONDS,
    COST_TRAINED_PARAMETERS,
    on_test,
)
from dynaxx.tracking.provenance import write_environment
from dynaxx.tracking.reconciliation import ChildRecord, reconcile
from dynaxx.tracking.registry import CHAMPION, register
from dynaxx.tracking.sweeps import TrialRecord, fail_sweep, record_sweep, record_trial

__all__ = [
    "CHAMPION",
    "COST_GFLOPS",
    "COST_LATENCY_P50_MS",
    "COST_LATENCY_P90_MS",
    "COST_LATENCY_P99_MS",
    "COST_LATENCY_RATIO",
    "COST_PEAK_MEMORY_MB",
    "COST_THROUGHPUT_PER_S",
    "COST_TRAINED_PARAMETERS",
    "COST_TRAIN_SECONDS",
    "NAME_BYTES",
    "ChildRecord",
    "TrackingError",
    "TrialRecord",
    "connect",
    "ending_live",
    "escaped",
    "experiment_name",
    "fail_sweep",
    "live_logger",
    "main_checkout",
    "on_test",
    "pipeline_key",
    "reconcile",
    "record_sweep",
    "record_trial",
    "register",
    "tracking_uri",
    "write_environment",
]
