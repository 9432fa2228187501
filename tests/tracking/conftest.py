"""One migrated MLflow store for all tests to copy, and files to log."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

pytest.importorskip("mlflow")
pytest.importorskip("lightning")

SET_BY_US = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_LEVEL")


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
