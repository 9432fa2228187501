"""Ten workers, one MLflow server on PostgreSQL: nothing is lost, and nobody without a password gets in."""

import urllib.error
import urllib.request
from functools import partial

import psutil
import psycopg
import pytest
from support.servers import free_port, real_postgres
from support.stores import in_process

from dynaxx.services import ServicesError, mlflow_server, postgres
from dynaxx.tracking import TrialRecord, record_sweep, record_trial
from dynaxx.tracking.client import connect

pytestmark = pytest.mark.slow

WORKERS, TRIALS, EPOCHS = 10, 2, 10


def record(number: int, state: str = "COMPLETE") -> TrialRecord:
    metrics = {"val/accuracy": number / 100, "cost/gflops": 1.0 + number} if state == "COMPLETE" else {}
    curve = [number / 100 + epoch / 1000 for epoch in range(EPOCHS)]
    return TrialRecord(number, state, {"resonance.T": number}, metrics, {"curve": curve} if metrics else {})


def work(uri: str, worker: int) -> None:
    """What a worker of a sweep logs: the begin and the end of each of its trials."""
    for number in range(worker, WORKERS * TRIALS, WORKERS):
        record_trial("sweeps", "s", record(number, "RUNNING"), uri=uri)
        record_trial("sweeps", "s", record(number), uri=uri)


def all_at_once(uri: str) -> None:
    workers = [in_process(partial(work, uri, worker)) for worker in range(WORKERS)]
    for process in workers:
        process.join()
    assert [process.exitcode for process in workers] == [0] * WORKERS


def nothing_is_lost(uri: str) -> None:
    all_at_once(uri)
    records = [record(number) for number in range(WORKERS * TRIALS)]
    parent = record_sweep("sweeps", "s", records, uri=uri, metrics={"val/accuracy": 0.39}, params={}, artifacts=[],
                          tags={})  # fmt: skip
    client = connect(uri)
    group = client.get_experiment_by_name("sweeps").experiment_id
    runs = client.search_runs([group], f"tags.mlflow.parentRunId = '{parent}'", max_results=1000)
    assert sorted(int(run.data.tags["dynaxx.trial"]) for run in runs) == list(range(WORKERS * TRIALS))
    (only,) = client.search_runs([group], "tags.`dynaxx.kind` = 'sweep'")  # though ten began at once
    assert only.info.run_id == parent
    for run in runs:
        number = int(run.data.tags["dynaxx.trial"])
        assert run.info.status == "FINISHED"
        assert run.data.params == {"resonance.T": str(number)}
        assert run.data.metrics == record(number).metrics | {"curve": record(number).curves["curve"][-1]}
        history = client.get_metric_history(run.info.run_id, "curve")
        assert [(point.step, point.value) for point in history] == list(enumerate(record(number).curves["curve"]))


def no_jobs_run() -> None:
    """Whoever else this process has started, too: none of MLflow's job runners, and no queue of theirs."""
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert any("mlflow" in command for command in commands)
    assert not [command for command in commands if "huey" in command or "mlflow.server.jobs" in command]


def test_ten_workers_lose_nothing_on_a_server_with_postgresql_that_asks_for_a_password(tmp_path, monkeypatch):
    with real_postgres(tmp_path / "postgres", "runs", "users") as database:
        port = free_port()
        store, logins = database.url("runs"), database.url("users")
        with mlflow_server(tmp_path / "mlflow", store, port, host="0.0.0.0", logins=logins) as server:
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{server.uri}/api/2.0/mlflow/experiments/get?experiment_id=0")
            assert refused.value.code == 401
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.password or "")
            no_jobs_run()
            nothing_is_lost(server.uri)
            with pytest.raises(ServicesError, match=f"port {port} of 127.0.0.1 is taken"):
                mlflow_server(tmp_path / "other", store, port).__enter__()
        for name in ("admin-password", "session-key", "basic_auth.ini"):
            assert (tmp_path / "mlflow" / name).stat().st_mode & 0o077 == 0
        assert database.password not in (tmp_path / "mlflow" / "mlflow.log").read_text()


def test_ten_workers_lose_nothing_on_one_sqlite_file(uri):
    nothing_is_lost(uri)


def test_postgresql_keeps_its_data_and_asks_for_its_password(tmp_path):
    with real_postgres(tmp_path / "postgres", "kept") as server:
        with psycopg.connect(server.url("kept")) as connection:
            connection.execute("CREATE TABLE t AS SELECT 7 AS x")
        without = server.url("kept", password=False)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(without, passfile="/nonexistent")
        assert server.passfile.stat().st_mode & 0o077 == 0
        # as after a `make services` that was killed: the server still runs, and its data are there
        with (
            postgres(tmp_path / "postgres", free_port(), ("kept",)) as again,
            psycopg.connect(again.url("kept", password=False), passfile=str(again.passfile)) as connection,
        ):
            assert again.port != server.port
            assert connection.execute("SELECT x FROM t").fetchone() == (7,)


def test_a_taken_port_is_named(tmp_path):
    with (
        real_postgres(tmp_path / "first") as server,
        pytest.raises(ServicesError, match=f"on port {server.port}"),
        real_postgres(tmp_path / "second", port=server.port),
    ):
        pass
