"""Where the store lies: environment, configuration, main checkout."""

import re
import subprocess
from pathlib import Path

import pytest

from dynaxx.tracking import TrackingError, main_checkout, tracking_uri

pytest.importorskip("mlflow")


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
