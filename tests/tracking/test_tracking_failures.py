"""Kills, two writers at once, and bad records."""

import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dynaxx import tracking
from dynaxx.tracking import TrackingError
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")
from support.stores import content, in_process, kill_self, open_live, reconcile, record, runs


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "fast"])
def test_a_metric_that_is_no_finite_number_is_refused(uri: str, artifacts: list[Path], value: object) -> None:
    before = content(uri)
    with pytest.raises(TrackingError, match=r"'cost/gflops' of explicit/seed-0 is"):
        reconcile(uri, artifacts, [record(metrics={tracking.COST_GFLOPS: value})])
    with pytest.raises(TrackingError, match="'gain' of the pipeline is"):
        reconcile(uri, artifacts, [], parent_metrics={"gain": value})
    assert content(uri) == before


def test_bad_records_and_artifacts_are_refused_before_anything_is_written(
    uri: str, artifacts: list[Path], tmp_path: Path
) -> None:
    before = content(uri)
    with pytest.raises(TrackingError, match=r"report\.html' does not exist: run the stage"):
        reconcile(uri, [*artifacts, tmp_path / "report.html"], [record()])
    with pytest.raises(TrackingError, match=r"2 paths named 'params\.yaml'"):
        reconcile(uri, [*artifacts, artifacts[0]], [record()])
    with pytest.raises(TrackingError, match="'explicit' with seed 0 twice"):
        reconcile(uri, artifacts, [record(), record(stage_key="other")])
    assert content(uri) == before


@pytest.fixture
def statement_bomb() -> Callable[[], None]:
    """Arms a kill of the calling process at its 300th SQL statement."""

    def arm() -> None:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        left = iter(range(300))

        def tick(*_: object) -> None:
            if next(left, None) is None:
                kill_self()

        event.listen(Engine, "before_cursor_execute", tick)

    return arm


def test_a_killed_creation_and_two_first_users_at_once(tmp_path: Path, statement_bomb: Callable[[], None]) -> None:
    path = tmp_path / "mlflow.db"
    uri = f"sqlite:///{path}"

    def creation() -> None:
        statement_bomb()
        connect(uri)

    killed = in_process(creation)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not path.exists()

    def train(arm: str) -> None:
        for seed in range(3):
            logger = open_live(uri, arm, seed)
            for step in range(10):
                logger.log_metrics({"val/accuracy": step / 10, "val/loss": 1.0}, step=step)
            logger.finalize("success")

    stages = [in_process(lambda arm=arm: train(arm)) for arm in ("explicit", "direct")]  # type: ignore[misc]
    for stage in stages:
        stage.join()
    assert [stage.exitcode for stage in stages] == [0, 0]
    assert not list(tmp_path.glob("mlflow.db.new*"))

    client = connect(uri)
    found = runs(uri)
    assert sorted(run.info.run_name for run in found) == [
        f"{arm}/seed-{seed}" for arm in ("direct", "explicit") for seed in range(3)
    ]
    for run in found:
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "val/accuracy")) == 10


def test_two_processes_that_reconcile_one_pipeline_make_one_parent(uri: str, artifacts: list[Path]) -> None:
    children = [record(), record("direct")]
    both = [in_process(lambda: reconcile(uri, artifacts, children)) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(runs(uri, "tags.`dynaxx.kind` = 'pipeline'")) == 1
    assert len(runs(uri)) == 3
