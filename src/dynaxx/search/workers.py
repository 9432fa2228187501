"""Who runs a trial, and what becomes of the trial when its worker dies."""

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
"""After which a running trial without a worker's name counts as dead: it was killed between its two first writes."""


@dataclass(frozen=True)
class Worker:
    """One process on one machine; a process id alone would be taken for a later process that got the same one."""

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> "Worker":
        """The process that asks."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time())

    def sign(self, trial: optuna.Trial) -> None:
        """Leave this worker's name on a trial that it begins."""
        trial.set_user_attr(WORKER, [self.host, self.pid, self.started])

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Worker | None":
        """Who signed the trial."""
        signed = trial.user_attrs.get(WORKER)
        return cls(*signed) if signed else None

    def dead(self) -> bool:
        """Whether it is known to run no more; of another machine's workers that is not known here."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.started) > 1
        except psutil.NoSuchProcess:
            return True


def requeue_dead(study: optuna.Study) -> list[int]:
    """Fail the running trials whose workers are dead, and queue each of them anew; the numbers of the dead ones.

    On a database that is Optuna's heartbeat's work, for workers of all machines; a worker of this machine is seen to be
    dead at once, and on a journal, which has no heartbeat, in no other way.
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
        except ValueError:  # somebody else was quicker
            continue
        retry_trial(study, study.trials[trial.number])
        requeued.append(trial.number)
    return requeued


def run_one(study: optuna.Study, objective: Callable[[optuna.Trial], Any]) -> int | None:
    """Run one trial; its number if others took this worker for dead meanwhile and ended the trial, else None.

    Raises:
        Exception: what the objective raised, but for `optuna.TrialPruned`.
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
    except Exception:  # Optuna fails in several ways where it is told of a trial that has ended
        if own or not begun or study.trials[begun[0]].state != TrialState.FAIL:
            raise
        return begun[0]
    return None


def finished(study: optuna.Study) -> int:
    """How many trials have ended as they should."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def running(study: optuna.Study) -> int:
    """How many trials somebody is at."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def wanted(study: optuna.Study, n_trials: int) -> int:
    """How many of `n_trials` are neither finished nor begun."""
    return n_trials - finished(study) - running(study)
