"""Jobs: what they need first, what is not run twice, and what a failure does to the others."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from omegaconf import OmegaConf
from support.project import ROOT

from experiments.job import Job
from experiments.pool import run_all
from experiments.setting import changed
from experiments.tasks.cifar10 import EXPERIMENTS


def note(job, params, root):
    """Stands in for a fit: leaves what marks a job as complete."""
    if job.arm == "direct":
        raise ValueError("no\nthanks")
    for need in job.needs():
        assert (root / need).exists(), f"{job.name} ran before {need}"
    job.folder(root).mkdir(parents=True)
    (job.folder(root) / f"{job.arm if job.arm in ('world', 'cache') else 'arm'}.json").write_text("{}")
    return job.name


def jobs():
    arms = ("implicit", "explicit", "direct", "baseline", "cache", "world")  # the wrong way round
    return [Job("w", "" if arm in ("world", "cache") else "r", arm, 0) for arm in arms]


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_wait_for_what_they_need_and_a_failure_ends_no_other(tmp_path, capsys, workers):
    missed = run_all(jobs(), note, OmegaConf.create(), tmp_path, workers=workers, threads=1, until=float("inf"))
    assert missed == ["w/r/direct/seed-0"]
    assert "w/r/direct/seed-0: FAILED: ValueError: no thanks\n" in capsys.readouterr().out
    assert all(job.done(tmp_path) for job in jobs() if job.arm != "direct")


def test_what_is_complete_is_not_run_again(tmp_path, capsys):
    kept = [job for job in jobs() if job.arm != "direct"]
    for _ in range(2):
        assert run_all(kept, note, OmegaConf.create(), tmp_path, workers=1, threads=1, until=float("inf")) == []
    assert capsys.readouterr().out.count("w/r/implicit/seed-0") == 1


def test_nothing_is_begun_after_the_time_is_up(tmp_path):
    missed = run_all(jobs(), note, OmegaConf.create(), tmp_path, workers=1, threads=1, until=time.time() - 1)
    assert sorted(missed) == sorted(job.name for job in jobs())
    assert not list(tmp_path.iterdir())


def wait_for_ever(job, params, root):
    """Stands in for a long fit: says who it is, and ends when somebody ends it."""
    (root / "pid").write_text(str(os.getpid()))
    threading.Event().wait()


def test_a_worker_ends_when_the_command_is_killed(tmp_path):
    script = f"""
import sys
from pathlib import Path
from omegaconf import OmegaConf
sys.path[:0] = ["tests", "tests/experiments"]
import test_pool
from experiments.pool import run_all
if __name__ == "__main__":
    job, root = test_pool.jobs()[-1:], Path({str(tmp_path)!r})
    run_all(job, test_pool.wait_for_ever, OmegaConf.create(), root, workers=1, threads=1, until=float("inf"))
"""
    (tmp_path / "command.py").write_text(script)
    command = subprocess.Popen(
        [sys.executable, str(tmp_path / "command.py")], cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}"}
    )
    pid = tmp_path / "pid"
    while not pid.exists() or not pid.read_text():
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(timeout=0.1)
            raise AssertionError("it ended too early")
    worker = psutil.Process(int(pid.read_text()))
    command.kill()
    command.wait()
    _, alive = psutil.wait_procs([worker])
    assert not alive


@pytest.mark.parametrize("study", EXPERIMENTS)
def test_all_that_a_job_needs_is_in_its_study(study):
    names = {job.name for job in EXPERIMENTS[study]()}
    assert {need for job in EXPERIMENTS[study]() for need in job.needs()} <= names


@pytest.mark.parametrize("study", ["tune", "designs", "dense_designs"])
def test_what_is_chosen_by_never_answers_test_images(study):
    tested = {
        job.seed for name in ("main", "labels", "tail", "same", "dense") for job in EXPERIMENTS[name]() if job.condition
    }
    for job in EXPERIMENTS[study]():
        assert not job.condition or (not job.tested and job.seed not in tested)


def test_a_change_replaces_and_a_misspelt_one_raises():
    params = OmegaConf.create({"data": {"groups": {"a": ["1"], "b": ["2"]}}, "task": {"n_train": 5}})
    found = changed(params, {"data.groups": {"c": ["1", "2"]}, "task.n_train": 7})
    assert OmegaConf.to_container(found) == {"data": {"groups": {"c": ["1", "2"]}}, "task": {"n_train": 7}}
    assert params.task.n_train == 5
    assert changed(params, {"data.groups": None}).data.groups is None
    with pytest.raises(ValueError, match="task.n_trian=7: params.yaml has no such key"):
        changed(params, {"task.n_trian": 7})
