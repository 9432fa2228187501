"""`python -m pipelines.sweep [sweep=NAME] [n_trials=N] [OVERRIDE …]`: search settings of explicit, on validation alone.

The command brings the stages before it up to date, and starts the workers. At the end it writes the front, a page, and
the chosen point as conf/experiment/best.yaml. The same command resumes an interrupted sweep.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import optuna
import psutil
from rich.console import Console

from dynaxx.search import RETRIES, finished, open_storage, open_study, requeue_dead, running, wanted
from dynaxx.services import interrupt_on_sigterm
from dynaxx.tracking import TrackingError, fail_sweep, tracking_uri
from pipelines.common.help import asked, sweep_help
from pipelines.common.judge import judge
from pipelines.common.stage import EXPECTED
from pipelines.sweep.end import end_sweep
from pipelines.sweep.plan import Plan, check_prepared, read_plan

STAGES = ("baseline", "select_layers")
"""Stages that must be up to date, with their dependencies; none of them reads a test image."""


def main(arguments: Sequence[str]) -> int:
    """Start or resume a sweep."""
    if asked(arguments):
        print(sweep_help(), end="")
        return 0
    console = Console(width=None if sys.stdout.isatty() else 140)
    interrupt_on_sigterm()
    try:
        plan = read_plan(arguments)
        judge(plan.base)
        check_prepared(plan)
        storage = open_storage(plan.storage)
        study = open_study(storage, plan.study, plan.metric, one_objective=plan.one_objective, of=plan.mark)
        code = subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", *STAGES], check=False).returncode
        if code:
            return code
        requeued = requeue_dead(study)
        if requeued:
            print(f"trials {', '.join(map(str, requeued))} are repeated: their workers died", flush=True)
        print(f"study {plan.study}: {finished(study)} of {plan.options.n_trials} trials are finished", flush=True)
        with ending_sweep(plan):
            if code := run_workers(plan, study):
                raise SystemExit(code)
            end_sweep(plan, study, console)
    except SystemExit as ended:  # a worker has said what is wrong
        return int(ended.code or 0)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes the sweep", file=sys.stderr)
        return 130
    except EXPECTED as error:
        if os.environ.get("DYNAXX_TRACEBACK"):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def ending_sweep(plan: Plan) -> Iterator[None]:
    """End the sweep's MLflow run as FAILED if an error, a failed worker or Ctrl-C ends the block."""
    try:
        yield
    except BaseException:
        with suppress(TrackingError):  # what ended the block is the news
            fail_sweep(plan.base.tracking.experiment, plan.study, uri=tracking_uri(plan.base.tracking.uri))
        raise


def run_workers(plan: Plan, study: optuna.Study) -> int:
    """Run `sweep.workers` processes until all trials are finished; return 0, or the exit code of a failed worker.

    A killed worker is replaced and its trial repeated. A worker that ends with an error ends the sweep.

    >>> code = run_workers(read_plan(["n_trials=50"]), study)
    """
    workers: dict[int, psutil.Popen] = {}
    begun, killed, told = 0, 0, False
    try:
        while (left := plan.options.n_trials - finished(study)) > 0 or workers:
            while left > 0 and len(workers) < plan.options.workers and wanted(study, plan.options.n_trials) > 0:
                if len(workers) >= left:
                    break
                workers[begun] = _start(plan, begun)
                begun += 1
            if not workers:
                if not told:
                    print(f"waiting for {running(study)} trials that other processes run", flush=True)
                told = True
                time.sleep(1)
            gone, _ = psutil.wait_procs(list(workers.values()), timeout=1)
            for number in [number for number, process in workers.items() if process in gone]:
                code = workers.pop(number).returncode
                if code > 0:
                    return code
                killed += code < 0
            if killed > RETRIES * plan.options.workers:
                raise RuntimeError(f"{killed} workers were killed; is there memory enough for sweep.workers="
                                   f"{plan.options.workers}?")  # fmt: skip
            requeue_dead(study)
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.wait()
    return 0


def _start(plan: Plan, number: int) -> psutil.Popen:
    """Start one worker, on its own GPU if there are several."""
    import torch

    cores = max(1, (os.cpu_count() or 1) // plan.options.workers)
    environment: dict[str, Any] = {"OMP_NUM_THREADS": str(cores)} | os.environ
    if (count := torch.cuda.device_count()) > 1 and "CUDA_VISIBLE_DEVICES" not in os.environ:
        environment["CUDA_VISIBLE_DEVICES"] = str(number % count)
    command = [sys.executable, "-m", "pipelines.sweep.worker", str(number), str(os.getpid()), *plan.overrides]
    return psutil.Popen(command, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
