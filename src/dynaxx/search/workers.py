"""The worker processes of a study: their signatures (identities stored with trials), and the trials of dead workers."""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from dynaxx.search.retry import WORKER, retry_trial

UNSIGNED_SECONDS = 60.0
"""Seconds after which a running trial without a signature counts as abandoned by a worker that died."""


@dataclass(frozen=True)
class Worker:
    """One process on one machine, with its start time, because systems reuse process ids."""

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> "Worker":
        """The current process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def sign(self, trial: optuna.Trial) -> None:
        """Store this worker's identity on a trial that it begins."""
        trial.set_user_attr(WORKER, [self.host, self.pid, self.started])

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Worker | None":
        """The worker that signed the trial, or None."""
        signed = trial.user_attrs.get(WORKER)
        return cls(*signed) if signed else None

    def dead(self) -> bool:
        """Whether the worker's process has ended; False for other machines, whose processes are not visible."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.started) > 1
        except psutil.NoSuchProcess:
            return True


def requeue_dead(study: optuna.Study) -> list[int]:
    """Mark the running trials of dead workers as failed, queue them again, and return their numbers.

    On a database Optuna's heartbeat finds dead workers of all machines. Dead workers of this machine are found at
    once by their process ids. A journal has no heartbeat, so there the process ids are the only sign of a dead worker.

    >>> requeue_dead(study)
    [3]
    """
    fail_stale_trials(study)
    requeued = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = Worker.of(trial)
        since = time.time() - trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        if not (worker.dead() if worker else since > UNSIGNED_SECONDS):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except ValueError:  # another worker has marked it first
            continue
        retry_trial(study, study.trials[trial.number])
        requeued.append(trial.number)
    return requeued


def run_one(study: optuna.Study, objective: Callable[[optuna.Trial], Any]) -> int | None:
    """Run one trial. Return its number if another worker took this one for dead and ended the trial, else None.

    >>> run_one(study, lambda trial: trial.suggest_float("x", 0, 1))

    Raises:
        Exception: any error of the objective except for `optuna.TrialPruned`.
    """
    begun: list[int] = []
    own: list[Exception] = []

    def watched(trial: optuna.Trial) -> Any:
        begun.append(trial.number)
        try:
            return objective(trial)
        except (optuna.TrialPruned, UpdateFinishedTrialError):
            raise
        except Exception as error:
            own.append(error)
            raise

    try:
        study.optimize(watched, n_trials=1)
    except Exception:  # Optuna raises several kinds of errors for a trial that has ended already
        if own or not begun or study.trials[begun[0]].state != TrialState.FAIL:
            raise
        return begun[0]
    return None


def finished(study: optuna.Study) -> int:
    """Number of trials of the study that are complete or pruned."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def running(study: optuna.Study) -> int:
    """Number of trials of the study that are running."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def wanted(study: optuna.Study, n_trials: int) -> int:
    """Number of trials still to start: `n_trials` minus those that are finished or running."""
    return n_trials - finished(study) - running(study)
