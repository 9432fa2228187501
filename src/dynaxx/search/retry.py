"""A trial whose worker died is begun anew."""

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

RETRIES = 3
"""How often a trial is begun anew whose workers died; one that kills every worker must not kill the sweep."""

WORKER = "worker"
"""Attribute of a trial: the process that runs it."""


def retry_trial(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial with the values of one that has failed, unless it has been tried too often.

    It is not signed as that was: between its begin and its own worker's signature it would be taken for a dead one's.
    """
    trial.user_attrs = {name: value for name, value in trial.user_attrs.items() if name != WORKER}
    RetryHeartbeatStaleTrialCallback(RETRIES)(study, trial)
