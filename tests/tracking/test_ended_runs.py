"""What fails or is interrupted leaves neither an open run nor a server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.servers import free_port

from dynaxx.services import interrupt_on_sigterm, mlflow_ui
from dynaxx.tracking import TrackingError, ending_live

pytest.importorskip("mlflow")
from support.stores import in_process, open_live, reconcile, record, runs


def states(uri: str) -> dict[str, str]:
    return {run.info.run_name: run.info.status for run in runs(uri)}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("logged", [True, False])
def test_a_training_that_ends_early_ends_its_run(uri: str, error: type[BaseException], logged: bool) -> None:
    def training() -> None:
        with ending_live(lambda: open_live(uri)) as logger:
            opened = logger()
            if logged:
                opened.log_metrics({"val/accuracy": 0.5}, step=1)
            raise error

    with pytest.raises(error):
        training()
    assert states(uri) == {"explicit/seed-0": "FAILED"}
    with ending_live(lambda: open_live(uri)) as logger:  # and it is continued
        logger().finalize("success")
    assert states(uri) == {"explicit/seed-0": "FINISHED"}


def test_an_error_before_the_run_is_opened_stays_what_it_is(uri: str) -> None:
    with pytest.raises(ZeroDivisionError), ending_live(lambda: open_live(uri)):
        raise ZeroDivisionError
    assert states(uri) == {}


def test_a_store_that_is_away_does_not_hide_the_error(uri: str) -> None:
    def training() -> None:
        with ending_live(lambda: open_live(uri)) as logger:
            logger().log_metrics({"val/accuracy": 0.5}, step=1)
            Path(uri.removeprefix("sqlite:///")).write_bytes(b"no database at all" * 100)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        training()


def test_sigterm_ends_the_run(uri: str) -> None:
    def training() -> None:
        interrupt_on_sigterm()
        with ending_live(lambda: open_live(uri)) as logger:
            logger().log_metrics({"val/accuracy": 0.5}, step=1)
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    process = in_process(training)
    process.join()
    assert process.exitcode == 1  # of the KeyboardInterrupt
    assert states(uri) == {"explicit/seed-0": "FAILED"}


def test_a_handler_that_is_set_already_stays() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        interrupt_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_report_that_fails_half_way_ends_its_run_and_is_completed_later(
    uri: str, artifacts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LocalArtifactRepository, "log_artifact", full)
        with pytest.raises(TrackingError, match="No space left"):
            reconcile(uri, artifacts, [record()])
    assert states(uri) == {"pipeline-aaaaaaaa": "FAILED", "explicit/seed-0": "FINISHED"}
    reconcile(uri, artifacts, [record()])
    assert set(states(uri).values()) == {"FINISHED"}


SERVER = """#!{python}
import pathlib, signal, subprocess, sys
worker = subprocess.Popen([{python!r}, "-c", "import signal; signal.pause()"])
pathlib.Path({pids!r}).write_text(f"{{worker.pid}}")
pathlib.Path({pids!r}).rename({pids!r} + ".ready")
signal.pause()
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_ui_s_server_and_its_workers_end_with_it(tmp_path: Path, end: signal.Signals) -> None:
    pids, stub = tmp_path / "pids", tmp_path / "server"
    stub.write_text(SERVER.format(python=sys.executable, pids=str(pids)))
    stub.chmod(0o755)

    def ui(port: int = free_port(), stub: str = str(stub), pids: str = str(pids), end: int = end) -> None:
        interrupt_on_sigterm()
        sys.executable = stub  # in place of `python -m mlflow ui`
        with mlflow_ui("sqlite:///none.db", port):
            while not Path(f"{pids}.ready").exists():
                os.sched_yield()
            os.kill(os.getpid(), end)
            signal.pause()

    process = in_process(ui)
    process.join()
    assert process.exitcode == 1
    assert not psutil.pid_exists(int(Path(f"{pids}.ready").read_text()))
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(stub) in (p.info["cmdline"] or [])]


def test_the_server_s_command_line_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def popen(command: list[str], **_: object) -> None:
        seen.append(command)
        raise InterruptedError

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(InterruptedError):
        mlflow_ui("postgresql://u:secret@h/db", free_port()).__enter__()
    assert "secret" not in " ".join(seen[0])
