"""Reconciling a pipeline with its MLflow runs, on real SQLite stores."""

import re
import shutil
import signal
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dynaxx import tracking
from dynaxx.tracking import TrackingError, pipeline_key
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")
from support.stores import (
    KEY,
    OTHER_KEY,
    children_of,
    content,
    in_process,
    kill_self,
    open_live,
    reconcile,
    record,
    runs,
)


def test_the_key_ignores_the_report_stage_and_nothing_else() -> None:
    lock = {"schema": "2.0", "stages": {"explicit": {"cmd": "a", "outs": [{"md5": "1"}]}}}
    key = pipeline_key("seed: 0\n", lock)
    reported = {"stages": {"report": {"cmd": "b"}, **lock["stages"]}, "schema": "2.0"}  # type: ignore[dict-item]
    assert pipeline_key("seed: 0\n", reported) == key
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert pipeline_key("seed: 1\n", lock) != key
    changed = {"schema": "2.0", "stages": {"explicit": {"cmd": "a", "outs": [{"md5": "2"}]}}}
    assert pipeline_key("seed: 0\n", changed) != key
    with pytest.raises(TrackingError, match="holds no stages"):
        pipeline_key("seed: 0\n", {"schema": "2.0"})


def test_live_runs_become_children_and_missing_ones_are_created(uri: str, artifacts: list[Path]) -> None:
    live = open_live(uri)
    live.log_metrics({"val/accuracy": 0.5}, step=3)  # and the stage is killed: the run stays RUNNING
    parent = reconcile(uri, artifacts, [record(), record("direct", 1)])

    (found,) = runs(uri, f"tags.`dynaxx.pipeline` = '{KEY}' and tags.`dynaxx.kind` = 'pipeline'")
    assert (found.info.run_id, found.info.status) == (parent, "FINISHED")
    assert found.data.metrics == {"gain": 0.04}
    assert found.data.params == {
        "seed": "0",
        "train.lr": "0.01",
        "train.taps": "['layer2', 'layer3']",
        "train.warmup": "None",
        "train.extra": "{}",
    }
    assert found.data.tags["decision"] == "adopt"

    children = children_of(uri, parent)
    assert sorted(children) == ["direct/seed-1", "explicit/seed-0"]
    assert {run.info.status for run in children.values()} == {"FINISHED"}
    assert {run.data.tags["dynaxx.pipeline"] for run in children.values()} == {KEY}
    adopted = children["explicit/seed-0"]
    assert adopted.info.run_id == live.run_id
    assert adopted.data.params == {"train.lr": "0.1", "rank": "16"}
    assert adopted.data.metrics == {"val/accuracy": 0.5, "test/accuracy": 0.7, "cost/train_seconds": 3.5}
    assert children["direct/seed-1"].data.metrics["test/accuracy"] == pytest.approx(0.71)
    best = runs(uri, "metrics.`test/accuracy` > 0.705 and tags.`dynaxx.kind` = 'arm'")
    assert [run.info.run_name for run in best] == ["direct/seed-1"]


def test_artifacts_lie_beside_the_store_wherever_the_stage_ran(
    uri: str, artifacts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    parent = reconcile(uri, artifacts, [])
    assert list(elsewhere.iterdir()) == []
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / parent / "artifacts"
    assert (folder / "params.yaml").read_text() == "seed: 0\n"
    assert (folder / "model" / "config.json").read_text() == "{}"
    names = [item.path for item in connect(uri).list_artifacts(parent)]
    assert names == ["model", "params.yaml"]


def test_a_second_time_changes_nothing(uri: str, artifacts: list[Path]) -> None:
    open_live(uri).log_metrics({tracking.on_test("accuracy"): 0.1}, step=7)  # superseded by the record, once
    children = [record(), record("direct", 1)]
    parent = reconcile(uri, artifacts, children)
    before = content(uri)
    stored = Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / parent / "artifacts" / "params.yaml"
    written = stored.stat().st_mtime_ns
    assert reconcile(uri, artifacts, children) == parent
    assert content(uri) == before
    assert stored.stat().st_mtime_ns == written
    assert children_of(uri, parent)["explicit/seed-0"].data.metrics[tracking.on_test("accuracy")] == 0.7


def test_changed_files_and_lost_parts_are_brought_up_to_date(uri: str, artifacts: list[Path]) -> None:
    parent = reconcile(uri, artifacts, [record(), record(seed=1)])
    lost = children_of(uri, parent)["explicit/seed-1"].info.run_id
    connect(uri).delete_run(lost)
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / parent / "artifacts"
    shutil.rmtree(folder / "model")
    reconcile(uri, artifacts, [])
    assert (folder / "model" / "config.json").exists()

    artifacts[0].write_text("seed: 1\n")
    changed = record(metrics={tracking.on_test("accuracy"): 0.65})
    assert reconcile(uri, artifacts, [changed, record(seed=1)], tags={"decision": "no"}) == parent
    children = children_of(uri, parent)
    assert children["explicit/seed-1"].info.run_id != lost
    assert children["explicit/seed-0"].data.metrics[tracking.on_test("accuracy")] == 0.65
    assert (folder / "params.yaml").read_text() == "seed: 1\n"
    assert connect(uri).get_run(parent).data.tags["decision"] == "no"


def test_a_child_of_another_parent_stays_there(uri: str, artifacts: list[Path]) -> None:
    live = open_live(uri)
    first = reconcile(uri, artifacts, [record()])
    second = reconcile(uri, artifacts, [record()], key=OTHER_KEY)
    assert first != second
    for parent in (first, second):
        assert reconcile(uri, artifacts, [record()], key={first: KEY, second: OTHER_KEY}[parent]) == parent
        (child,) = children_of(uri, parent).values()
        assert (child.info.run_id == live.run_id) == (parent == first)
        assert child.data.metrics[tracking.on_test("accuracy")] == 0.7
    assert len(runs(uri)) == 4
    assert open_live(uri).run_id == live.run_id


def test_many_parameters_and_metrics_are_written_in_parts(uri: str, artifacts: list[Path]) -> None:
    params = {f"p{i}": i for i in range(230)}
    metrics = {f"m{i}": i / 7 for i in range(120)}
    parent = reconcile(uri, artifacts, [], params=params, parent_metrics=metrics)
    data = connect(uri).get_run(parent).data
    assert data.params == {name: str(value) for name, value in params.items()}
    assert data.metrics == metrics


@pytest.mark.parametrize("place", ["first child", "third child", "model folder"])
def test_a_kill_half_way_is_completed_by_the_next_run(uri: str, artifacts: list[Path], place: str) -> None:
    children = [record(), record("direct"), record("implicit")]

    def killed() -> None:
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
        from mlflow.tracking import MlflowClient

        create_run, calls = MlflowClient.create_run, count()

        def fourth_is_the_end(*args: Any, **options: Any) -> Any:
            return create_run(*args, **options) if next(calls) < 3 else kill_self()

        def one_file_and_the_end(repository: Any, folder: str, artifact_path: str) -> None:
            repository.log_artifact(f"{folder}/config.json", artifact_path)
            kill_self()

        victims: dict[str, tuple[Any, str, Any]] = {
            "first child": (MlflowClient, "set_terminated", kill_self),
            "third child": (MlflowClient, "create_run", fourth_is_the_end),
            "model folder": (LocalArtifactRepository, "log_artifacts", one_file_and_the_end),
        }
        setattr(*victims[place])
        reconcile(uri, artifacts, children)

    process = in_process(killed)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [run.info.status for run in runs(uri, "tags.`dynaxx.kind` = 'pipeline'")] == ["RUNNING"]

    parent = reconcile(uri, artifacts, children)
    assert len(runs(uri)) == 4
    assert len(children_of(uri, parent)) == 3
    assert {run.info.status for run in runs(uri)} == {"FINISHED"}
    client = connect(uri)
    for child in children_of(uri, parent).values():
        assert len(client.get_metric_history(child.info.run_id, tracking.on_test("accuracy"))) == 1
    assert [item.path for item in client.list_artifacts(parent)] == ["model", "params.yaml"]
    assert len(client.list_artifacts(parent, "model")) == 2
