"""The frame of every stage: read params, resume, publish complete results only, and end with one line."""

import errno
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError

from dynaxx.services import interrupt_on_sigterm
from dynaxx.spent import seconds, told
from dynaxx.training.distributed import rank_zero
from pipelines.common.help import answer_stage
from pipelines.common.settings import checked
from pipelines.common.submit import submit, wants_job

OUTPUTS = Path("outputs")
WORK = Path(".dynaxx/work")
FEATURES = Path(".dynaxx/features")

EXPECTED = (
    *(OSError, ValueError, TypeError, ArithmeticError, RuntimeError),
    *(HydraException, OmegaConfBaseException, SafetensorError),
)
"""Errors from bad input, bad options and failing hardware; DYNAXX_TRACEBACK=1 shows their traceback."""


@dataclass(frozen=True)
class Stage:
    """One run of one stage.

    >>> run("prepare", lambda stage: f"{stage.name} has the key {stage.key}")

    Attributes:
        name: name of the stage in dvc.yaml.
        params: content of params.yaml.
        key: hash of the stage's params, deps and code; a resumed run has the same key.
        out: folder for results, renamed to outputs/<name> when the stage is complete.
        checkpoints: folder for checkpoints, kept if the stage is killed and deleted if it succeeds.
    """

    name: str
    params: DictConfig
    key: str
    out: Path
    checkpoints: Path


def run(name: str, body: Callable[[Stage], str]) -> None:
    """Run `body`, which writes to `stage.out` and returns its result in one line; exit with 1 on bad input.

    The results of a killed stage stay in .dynaxx/work, and a run with the same key resumes them. With a launcher
    (trainer=slurm) a stage that trains is submitted as a job, and this process waits for it.

    >>> run("prepare", body)
    """
    answer_stage(name)
    interrupt_on_sigterm()
    started, before = time.perf_counter(), seconds()
    try:
        params = checked(read_params())
        if wants_job(params) and trains(name):
            sys.exit(submit(name, params, WORK / "jobs" / name))
        key = stage_key(name)
        work = WORK / f"{name}-{key[:16]}"
        stage = Stage(name, params, key, work / "out", work / "checkpoints")
        stage.out.mkdir(parents=True, exist_ok=True)
        line = body(stage)
        if rank_zero():
            publish(stage.out, OUTPUTS / name)
            for old in WORK.glob(f"{name}-*"):
                shutil.rmtree(old, ignore_errors=True)
    except KeyboardInterrupt:
        fail(name, "interrupted; run `dvc repro` again to go on from the last checkpoint", 130)
    except EXPECTED as error:
        if os.environ.get("DYNAXX_TRACEBACK"):
            raise
        fail(name, f"{error}{'; free some and run `dvc repro` again, what was finished is kept' * disk_full(error)}")
    if rank_zero():
        parts = {what: total - before.get(what, 0.0) for what, total in seconds().items()}
        print(f"{name}: {line} ({told(time.perf_counter() - started, parts)})", flush=True)


def trains(name: str) -> bool:
    """Whether the stage uses the trainer, according to its params in dvc.yaml."""
    return "trainer" in yaml.safe_load(Path("dvc.yaml").read_text())["stages"][name].get("params", [])


def disk_full(error: BaseException) -> bool:
    """Whether the error or its cause is a full disk; safetensors reports it only in the message."""
    causes = (error, error.__cause__)
    return any(getattr(e, "errno", None) == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(e) for e in causes)


def fail(name: str, message: str, code: int = 1) -> None:
    """End the process with one line on stderr."""
    print(f"error in stage {name}: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(code)


def read_params() -> DictConfig:
    """Read params.yaml.

    >>> read_params().resonance.T
    4

    Raises:
        ValueError: the file is missing or not a YAML mapping.
    """
    try:
        params = OmegaConf.load("params.yaml")
    except FileNotFoundError:
        raise ValueError("params.yaml is missing here; run `python -m pipelines.compose`") from None
    except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
        raise ValueError(f"params.yaml cannot be read ({error}); run `python -m pipelines.compose`") from None
    if not isinstance(params, DictConfig):
        raise ValueError("params.yaml holds no mapping; run `python -m pipelines.compose`")
    return params


def stage_key(name: str) -> str:
    """Hash of the stage's dependencies in dvc.yaml: its sections of params.yaml and the content of its deps."""
    described = yaml.safe_load(Path("dvc.yaml").read_text())["stages"][name]
    plain: Any = OmegaConf.to_container(read_params())
    digest = hashlib.sha256(name.encode())
    for section in described.get("params", []):
        value = plain
        for part in section.split("."):
            value = value[part]
        digest.update(yaml.safe_dump({section: value}).encode())
    for dep in described["deps"]:
        path = Path(re.sub(r"\$\{(\w+)\.(\w+)\}", lambda found: str(plain[found[1]][found[2]]), dep))
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file).encode())
                with open(file, "rb") as content:
                    digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def publish(out: Path, target: Path) -> None:
    """Rename a complete folder to its final name; an earlier folder is deleted after that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(out, target)
    shutil.rmtree(old, ignore_errors=True)
