"""A copy of the project, and the environment in which commands run in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "conf",
    "pipelines",
    "src",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    "dvc.yaml",
    "params.yaml",
)

Command = Callable[..., subprocess.CompletedProcess[str]]


def copy_project(target: Path) -> Path:
    """The tracked parts of the project in a new git repository."""
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(ROOT / part, target / part)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "copy"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *command], cwd=target, check=True)
    return target


def environment(project: Path) -> dict[str, str]:
    """That of this test run, with the copy's code first and one thread a process."""
    kept = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "DYNAXX_TRACEBACK")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    code = f"{project / 'src'}{os.pathsep}{project}"
    return kept | identity | {"PATH": path, "PYTHONPATH": code, "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
