"""MLflow tracking on real SQLite stores: live runs, reconciliation, kills, two writers, the store's place."""

import math
import multiprocessing
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dynaxx import tracking
from dynaxx.tracking import ChildRecord, TrackingError, live_logger, main_checkout, pipeline_key, tracking_uri
from dynaxx.tracking.client import connect

pytest.importorskip("mlflow")
pytest.importorskip("lightning")

SET_BY_US = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL")
KEY, OTHER_KEY = "a" * 64, "b" * 64
PARAMS = {"seed": 0, "train": {"lr": 0.01, "taps": ["layer2", "layer3"], "warmup": None, "extra": {}}}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning's logger sets MLFLOW_TRACKING_URI, a git hook GIT_DIR: neither may reach another test."""
    for name in ("MLFLOW_TRACKING_URI", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, "")  # so that it is restored afterwards even where it was not set
        monkeypatch.delenv(name)


FIRST_USE = """
import sys
from dynaxx.tracking.client import connect
assert "mlflow" not in sys.modules and "lightning" not in sys.modules
connect(sys.argv[1])
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled()
"""


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated store for all tests to copy: creating it takes seconds."""
    return tmp_path_factory.mktemp("store") / "new" / "folder" / "mlflow.db"


@pytest.fixture(scope="session")
def first_use(empty_store: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own creates the store, outside CI and pytest, where MLflow is silent of itself."""
    names = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "DO_NOT_TRACK", *SET_BY_US)
    environment = {name: value for name, value in os.environ.items() if name not in names}
    script = [sys.executable, "-c", FIRST_USE, f"sqlite:///{empty_store}"]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def uri(empty_store: Path, first_use: subprocess.CompletedProcess[str], tmp_path: Path) -> str:
    assert first_use.returncode == 0, first_use.stderr
    folder = tmp_path / "main chéckout"  # a blank and an accent have to survive every uri
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture
def artifacts(tmp_path: Path) -> list[Path]:
    model = tmp_path / "files" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "weights.safetensors").write_bytes(bytes(64))
    (model.parent / "params.yaml").write_text("seed: 0\n")
    return [model.parent / "params.yaml", model]


def record(arm: str = "explicit", seed: int = 0, **changes: Any) -> ChildRecord:
    metrics = {tracking.TEST_ACCURACY: 0.7 + seed / 100, tracking.COST_TRAIN_SECONDS: 3.5}
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
    """Run `function` in a fork, which spares the import of MLflow."""
    process = multiprocessing.get_context("fork").Process(target=function)
    process.start()
    return process


def kill_self(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- where the store lies ---------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "project"
    (root / "deep" / "down").mkdir(parents=True)
    git(root, "init")
    git(root, "commit", "--allow-empty", "-m", "first")
    return root


def test_environment_comes_before_configuration_before_default(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout / "deep" / "down")
    assert tracking_uri() == f"sqlite:///{checkout}/mlflow.db"
    assert tracking_uri("http://configured:5000") == "http://configured:5000"
    assert tracking_uri("sqlite:///runs/all.db?timeout=9") == f"sqlite:///{checkout}/runs/all.db?timeout=9"
    assert tracking_uri("sqlite:////elsewhere/mlflow.db") == "sqlite:////elsewhere/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:5000")
    assert tracking_uri("http://configured:5000") == "http://environment:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert tracking_uri("http://configured:5000") == "http://configured:5000"


def test_a_store_in_memory_is_refused() -> None:
    for uri in ("sqlite://", "sqlite:///", "sqlite:///:memory:"):
        with pytest.raises(TrackingError, match=re.escape(repr(uri))):
            tracking_uri(uri)


def test_a_checkout_whose_path_no_uri_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "100%25"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(TrackingError, match=r"has % or \? in its path"):
        tracking_uri()
    assert tracking_uri("http://host:5000") == "http://host:5000"


def test_copies_of_the_checkout_lead_back_to_it(checkout: Path, tmp_path: Path) -> None:
    worktree = tmp_path / "linked"
    git(checkout, "worktree", "add", str(worktree), "-b", "side")
    assert main_checkout(worktree) == checkout

    for origin in (checkout, worktree):  # DVC gives a temporary experiment a git repository of its own
        copy = origin / ".dvc" / "tmp" / "exps" / "standalone" / "tmp123"
        copy.mkdir(parents=True)
        git(copy, "init")
        assert main_checkout(copy) == checkout


def test_a_submodule_is_its_own_main_checkout(checkout: Path, tmp_path: Path) -> None:
    outer = tmp_path.resolve() / "outer"
    outer.mkdir()
    git(outer, "init")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", str(checkout), "inner")
    assert main_checkout(outer / "inner") == outer / "inner"


def test_without_a_repository_or_git_the_working_directory_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert main_checkout(tmp_path) == tmp_path.resolve()
    monkeypatch.setenv("PATH", "")
    assert main_checkout(tmp_path) == tmp_path.resolve()


# --- the key ----------------------------------------------------------------------------------------------


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


# --- live -------------------------------------------------------------------------------------------------


def open_live(uri: str, arm: str = "explicit", seed: int = 0, stage_key: str = "") -> Any:
    return live_logger(
        "digits",
        stage_key=stage_key or f"key-of-{arm}",
        arm=arm,
        seed=seed,
        uri=uri,
        params={"train": {"lr": 0.1}},
    )


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


# --- reconciliation ---------------------------------------------------------------------------------------


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
    open_live(uri).log_metrics({tracking.TEST_ACCURACY: 0.1}, step=7)  # superseded by the record, once
    children = [record(), record("direct", 1)]
    parent = reconcile(uri, artifacts, children)
    before = content(uri)
    stored = Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / parent / "artifacts" / "params.yaml"
    written = stored.stat().st_mtime_ns
    assert reconcile(uri, artifacts, children) == parent
    assert content(uri) == before
    assert stored.stat().st_mtime_ns == written
    assert children_of(uri, parent)["explicit/seed-0"].data.metrics[tracking.TEST_ACCURACY] == 0.7


def test_changed_files_and_lost_parts_are_brought_up_to_date(uri: str, artifacts: list[Path]) -> None:
    parent = reconcile(uri, artifacts, [record(), record(seed=1)])
    lost = children_of(uri, parent)["explicit/seed-1"].info.run_id
    connect(uri).delete_run(lost)
    folder = Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / parent / "artifacts"
    shutil.rmtree(folder / "model")
    reconcile(uri, artifacts, [])
    assert (folder / "model" / "config.json").exists()

    artifacts[0].write_text("seed: 1\n")
    changed = record(metrics={tracking.TEST_ACCURACY: 0.65})
    assert reconcile(uri, artifacts, [changed, record(seed=1)], tags={"decision": "no"}) == parent
    children = children_of(uri, parent)
    assert children["explicit/seed-1"].info.run_id != lost
    assert children["explicit/seed-0"].data.metrics[tracking.TEST_ACCURACY] == 0.65
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
        assert child.data.metrics[tracking.TEST_ACCURACY] == 0.7
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
        from mlflow.tracking import MlflowClient

        create_run, log_artifact, calls = MlflowClient.create_run, MlflowClient.log_artifact, count()

        def fourth_is_the_end(*args: Any, **options: Any) -> Any:
            return create_run(*args, **options) if next(calls) < 3 else kill_self()

        def one_file_and_the_end(client: Any, run_id: str, folder: str, artifact_path: str) -> None:
            log_artifact(client, run_id, f"{folder}/config.json", artifact_path)
            kill_self()

        victims: dict[str, tuple[str, Any]] = {
            "first child": ("set_terminated", kill_self),
            "third child": ("create_run", fourth_is_the_end),
            "model folder": ("log_artifacts", one_file_and_the_end),
        }
        setattr(MlflowClient, *victims[place])
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
        assert len(client.get_metric_history(child.info.run_id, tracking.TEST_ACCURACY)) == 1
    assert [item.path for item in client.list_artifacts(parent)] == ["model", "params.yaml"]
    assert len(client.list_artifacts(parent, "model")) == 2


# --- bad input --------------------------------------------------------------------------------------------


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


# --- several processes ------------------------------------------------------------------------------------


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


# --- manners ------------------------------------------------------------------------------------------------


def test_a_fresh_process_imports_late_and_creates_in_silence(
    first_use: subprocess.CompletedProcess[str],
) -> None:
    assert (first_use.returncode, first_use.stdout, first_use.stderr) == (0, "", "")
