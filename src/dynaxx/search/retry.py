"""The repetition of a trial whose worker died."""

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

RETRIES = 3
"""Largest number of repetitions of a trial, so that a trial that kills every worker does not stop the sweep."""

WORKER = "worker"
"""Name of a trial's attribute: the process that runs it."""


def retry_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial with the parameters of a failed one, at most `RETRIES` times.

    The signature is not copied: until the new worker signs, the new trial would count as one of the dead worker.

    >>> retry_trial(study, study.trials[3])
    """
    trial.user_attrs = {name: value for name, value in trial.user_attrs.items() if name != WORKER}
    RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)
