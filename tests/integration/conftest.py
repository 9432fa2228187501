"""A copy of the project in which the real pipeline has run once, as small as it gets."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from support.project import ROOT, Command, copy_project, environment


def once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make` fills, once for all of xdist's workers: the first to ask does it, the others wait."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / f"{name}.lock"):
        if not (shared / f"{name}.done").exists():
            shutil.rmtree(shared / name, ignore_errors=True)  # of a worker whose attempt failed
            make(shared / name)
            (shared / f"{name}.done").touch()
    return shared / name


def command_at(project: Path) -> Command:
    """Runs commands in `project`, or another folder; no limit of time, pytest's own guards against hanging."""

    def command(*words: str, check: bool = True, at: Path = project) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(words, cwd=at, env=environment(at), capture_output=True, text=True, check=False)
        assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result

    return command


@pytest.fixture(scope="session")
def ran_once(tmp_path_factory) -> Path:
    """A whole run of experiment=smoke, which nobody changes: the project, and what `dvc repro` printed in repro.log."""

    def run(folder: Path) -> None:
        command = command_at(copy_project(folder / "project"))
        command(sys.executable, "-m", "pipelines.compose", "experiment=smoke")
        output = command("dvc", "repro")
        command("git", "add", "-A")
        command("git", "commit", "-qm", "ran")
        (folder / "repro.log").write_text(output.stdout + output.stderr)

    return once(tmp_path_factory, "smoke", run)


@pytest.fixture(scope="session")
def ran(ran_once, tmp_path_factory) -> tuple[Path, Command, str]:
    """(project, run a command in it, what `dvc repro` printed) after a whole run of experiment=smoke."""
    project = tmp_path_factory.mktemp("smoke") / "project"
    shutil.copytree(ran_once / "project", project, symlinks=True)
    return project, command_at(project), (ran_once / "repro.log").read_text()


@pytest.fixture(scope="session")
def swept(ran_once, tmp_path_factory) -> Path:
    """A copy of the finished pipeline in which a small sweep has run, too; the others' project is left alone."""
    project = tmp_path_factory.mktemp("sweep") / "project"
    shutil.copytree(ran_once / "project", project, symlinks=True)
    options = ["experiment=smoke", "n_trials=4", "workers=1", "sweep.study=small", "sweep.seeds=[100]"]
    space = ["sweep.space.resonance.rank='int(interval(2, 6))'"]
    command_at(project)(sys.executable, "-m", "pipelines.sweep", *options, *space)
    return project


@pytest.fixture
def empty_project(tmp_path, monkeypatch):
    """A folder with dvc.yaml and params.yaml of experiment=smoke, one seed; in it is the current folder."""
    from support.staging import set_params

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNAXX_TRACEBACK", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for part in ("src", "pipelines"):
        (tmp_path / part).symlink_to(ROOT / part)
    set_params(["experiment=smoke", "task.seeds=[0]", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"])
    return tmp_path
