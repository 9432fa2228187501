"""Writing to a store and looking at what is in it."""

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from dynaxx import tracking
from dynaxx.tracking import ChildRecord, live_logger
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")

KEY, OTHER_KEY = "a" * 64, "b" * 64
PARAMS = {"seed": 0, "train": {"lr": 0.01, "taps": ["layer2", "layer3"], "warmup": None, "extra": {}}}


def record(arm: str = "explicit", seed: int = 0, **changes: Any) -> ChildRecord:
    metrics = {tracking.on_test("accuracy"): 0.7 + seed / 100, tracking.COST_TRAIN_SECONDS: 3.5}
    return replace(ChildRecord(arm, seed, f"key-of-{arm}", metrics, {"rank": 16}), **changes)


def reconcile(uri: str, artifacts: list[Path], children: list[ChildRecord], key: str = KEY, **changes: Any) -> str:
    options: dict[str, Any] = {
        "parent_metrics": {"gain": 0.04},
        "params": PARAMS,
        "tags": {"decision": "adopt"},
        **changes,
    }
    return tracking.reconcile("digits", uri=uri, key=key, children=children, artifacts=artifacts, **options)


def runs(uri: str, filter_string: str = "") -> list[Any]:
    """The runs as the UI's search box finds them."""
    client = connect(uri)
    group = client.get_experiment_by_name("digits")
    return [] if group is None else list(client.search_runs([group.experiment_id], filter_string))


def children_of(uri: str, parent: str) -> dict[str, Any]:
    return {run.info.run_name: run for run in runs(uri, f"tags.mlflow.parentRunId = '{parent}'")}


def content(uri: str) -> list[str]:
    """Every row of the store."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        return list(connection.iterdump())


def in_process(function: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    """Run `function` in a process of its own, with the environment of now.

    MLflow has threads run in a test's process, and a fork of it may inherit a lock that nobody ever opens; the
    processes are therefore forks of a clean one that has imported MLflow and done nothing else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dynaxx.tracking", "lightning.pytorch.loggers", "mlflow.tracking"])
    process = context.Process(target=_run, args=(cloudpickle.dumps(function), dict(os.environ)))
    process.start()
    return process


def _run(function: bytes, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    cloudpickle.loads(function)()


def kill_self(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def open_live(uri: str, arm: str = "explicit", seed: int = 0, stage_key: str = "") -> Any:
    return live_logger(
        "digits",
        stage_key=stage_key or f"key-of-{arm}",
        arm=arm,
        seed=seed,
        uri=uri,
        params={"train": {"lr": 0.1}},
    )
