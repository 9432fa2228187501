"""A copy of the project in which the real pipeline has run once, as small as it gets."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT, Command, copy_project, environment


@pytest.fixture(scope="session")
def ran(tmp_path_factory) -> tuple[Path, Command, str]:
    """(project, run a command in it, what `dvc repro` printed) after a whole run of experiment=smoke."""
    project = copy_project(tmp_path_factory.mktemp("smoke") / "project")

    def command(*words: str, check: bool = True, at: Path = project) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(words, cwd=at, env=environment(at), capture_output=True, text=True, timeout=550)
        assert not check or result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result

    command(sys.executable, "-m", "pipelines.compose", "experiment=smoke")
    output = command("dvc", "repro")
    command("git", "add", "-A")
    command("git", "commit", "-qm", "ran")
    return project, command, output.stdout + output.stderr


@pytest.fixture(scope="session")
def swept(ran, tmp_path_factory) -> Path:
    """A copy of the finished pipeline in which a small sweep has run, too; the others' project is left alone."""
    copy = tmp_path_factory.mktemp("sweep") / "project"
    shutil.copytree(ran[0], copy)
    options = ["experiment=smoke", "n_trials=4", "workers=1", "sweep.study=small", "sweep.seeds=[100]"]
    space = ["sweep.space.resonance.rank='int(interval(2, 6))'"]
    command = [sys.executable, "-m", "pipelines.sweep", *options, *space]
    done = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


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
