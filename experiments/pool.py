"""Jobs in several processes. Each starts when its dependencies are complete; complete jobs are not repeated."""

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import torch
from omegaconf import DictConfig


class Queued(Protocol):
    """A job as the pool sees it."""

    @property
    def name(self) -> str:
        """Name by which other jobs need it."""

    def needs(self) -> list[str]:
        """Names of the jobs that must be complete first."""

    def done(self, root: Path) -> bool:
        """Whether the job is complete."""


Run = Callable[[Any, DictConfig, Path], str]


def run_all(
    jobs: Sequence[Queued], run: Run, params: DictConfig, root: Path, *, workers: int, threads: int, until: float
) -> list[str]:
    """Run all jobs that are not complete, in the order of the list.

    >>> missed = run_all(jobs, dispatch, params, root, workers=4, threads=1, until=time.time() + 3600)

    Args:
        run: function that runs one job; it must be importable by name.
        workers: number of concurrent processes.
        threads: torch threads per process.
        until: time, in seconds like `time.time()`, after which no further job starts.

    Returns:
        Names of the jobs that failed, or did not start because of the time limit or a missing dependency.
    """
    waiting = [job for job in jobs if not job.done(root)]
    named, done = {job.name for job in waiting}, {job.name for job in jobs if job.done(root)}
    missed: list[str] = []
    running: dict[Future[str], Queued] = {}
    spawn = multiprocessing.get_context("spawn")  # CUDA does not work in forked children of a process that uses it
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start, initargs=(threads,)) as pool:
        while waiting or running:
            for job in list(waiting):
                needs = [need for need in job.needs() if need in named and need not in done]
                if any(need in missed for need in needs) or time.time() > until:
                    waiting.remove(job)
                    missed.append(job.name)
                elif not needs and len(running) < workers:
                    waiting.remove(job)
                    running[pool.submit(_one, run, job, params, root)] = job
            if not running:
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    print(future.result(), flush=True)
                    done.add(job.name)
                except Exception as error:  # a failed job must not stop the others
                    print(f"{job.name}: FAILED: {error}", flush=True)
                    missed.append(job.name)
    return missed


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the process that started it ends; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _one(run: Run, job: Queued, params: DictConfig, root: Path) -> str:
    began = time.perf_counter()
    try:
        line = run(job, params, root)
    except Exception as error:
        if os.environ.get("DYNAXX_TRACEBACK"):
            traceback.print_exc()
        raise RuntimeError(f"{type(error).__name__}: {' '.join(str(error).split())}") from None
    return f"{line} ({time.perf_counter() - began:.0f} s)"
