"""The repetition of a trial whose worker process died."""

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

RETRIES = 3
"""Largest number of repetitions of a trial. The limit protects the sweep from a trial that kills every worker."""

WORKER = "worker"
"""Name of the attribute of a trial that identifies the worker process that runs the trial."""


def retry_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial with the parameters of a failed one, at most `RETRIES` times.

    The signature (stored identity of the worker) is not copied. With a copy the new trial would count as a trial of the
    dead worker until its new worker signs.

    >>> retry_trial(study, study.trials[3])
    """
    trial.user_attrs = {name: value for name, value in trial.user_attrs.items() if name != WORKER}
    RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)
