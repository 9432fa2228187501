"""Live runs of training stages: restarts, ranks, stores that cannot be reached."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from dynaxx.tracking import TrackingError
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")
from support.stores import open_live, reconcile, runs


def test_a_restarted_stage_continues_its_run(uri: str) -> None:
    first = open_live(uri)
    first.log_metrics({"val/accuracy": 0.5}, step=1)
    first.finalize("failed")
    again = open_live(uri)
    again.log_metrics({"val/accuracy": 0.6}, step=2)
    assert again.run_id == first.run_id
    (run,) = runs(uri, "tags.`dynaxx.arm` = 'explicit' and tags.`dynaxx.seed` = '0'")
    assert (run.info.run_name, run.info.status) == ("explicit/seed-0", "RUNNING")
    assert run.data.params == {"train.lr": "0.1"}
    assert [point.value for point in connect(uri).get_metric_history(first.run_id, "val/accuracy")] == [
        0.5,
        0.6,
    ]
    assert len({open_live(uri, seed=1).run_id, open_live(uri, stage_key="new").run_id, first.run_id}) == 3


def test_other_ranks_open_no_run(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = open_live(uri)
    logger.log_metrics({"val/accuracy": 0.5}, step=1)
    logger.finalize("success")
    assert runs(uri) == []


def one_line(error: pytest.ExceptionInfo[TrackingError]) -> str:
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("uri", ["file:///tmp/runs", "runs", "./mlruns"])
def test_a_folder_is_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match="no longer keeps runs in folders") as error:
        open_live(uri)
    assert repr(uri) in one_line(error)


def test_stores_that_cannot_be_reached_are_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "file").touch()
    (tmp_path / "garbage.db").write_bytes(b"no database at all" * 100)
    for bad in (
        f"http://127.0.0.1:{port}",
        f"sqlite:///{tmp_path}/file/mlflow.db",
        f"sqlite:///{tmp_path}/garbage.db",
        "nonsense://host",
    ):
        with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as error:
            open_live(bad)
        assert repr(bad) in one_line(error)
    with pytest.raises(TrackingError) as error:
        open_live(f"http://ann:secret@127.0.0.1:{port}")
    assert "secret" not in one_line(error)
    assert "ann:***@127.0.0.1" in one_line(error)
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_a_deleted_experiment_is_named(uri: str, artifacts: list[Path]) -> None:
    reconcile(uri, artifacts, [])
    client = connect(uri)
    (parent,) = runs(uri)
    client.delete_experiment(parent.info.experiment_id)
    with pytest.raises(TrackingError, match="'digits' was deleted: `mlflow experiments restore"):
        open_live(uri)


def test_a_fresh_process_imports_late_and_creates_in_silence(
    first_use: subprocess.CompletedProcess[str],
) -> None:
    assert (first_use.returncode, first_use.stdout, first_use.stderr) == (0, "", "")
