"""The storage of a study: a journal file for workers on one machine, PostgreSQL for workers on several."""

import re
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import SQLAlchemyError

from dynaxx.search.errors import SearchError
from dynaxx.search.retry import retry_trial
from dynaxx.tasks import Metric

HEARTBEAT_SECONDS, GRACE_SECONDS = 15, 60
"""Seconds between two heartbeats of a worker on a database, and seconds of silence after which it counts as dead."""

GFLOPS = "cost/gflops"
"""Name of the second objective; the first is the metric of the task."""

COMMON_SETTINGS = "of"
"""Name of the attribute of a study that holds a hash of the settings that all its trials share."""

FINITE, LIMIT = "finite", "cost limit"
"""Names of a trial's two constraints: the training stayed finite, and the cost in GFLOPs is within the limit."""


def open_storage(where: str) -> BaseStorage:
    """Open the storage at `where`: the path of a file, or the URL of a database.

    >>> storage = open_storage("outputs/sweep/study.log")
    >>> storage = open_storage("postgresql://dynaxx@127.0.0.1:5432/optuna")

    Raises:
        SearchError: the database cannot be reached, or its kind does not support several workers.
    """
    warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna has had the heartbeat since 2.9
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the worker itself prints one line per failed trial
    scheme = urlsplit(where).scheme
    if not scheme:
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(where))
    if scheme.split("+")[0] not in ("postgresql", "mysql", "mariadb"):
        raise SearchError(
            f"sweep.storage={hide_password(where)}: give postgresql://USER@HOST/DATABASE for workers on several "
            "machines, or a file's path for those on one"
        )
    try:
        return RDBStorage(
            where,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            heartbeat_stale_trial_callback=retry_trial,
        )
    except (SQLAlchemyError, OptunaError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        line = f"sweep.storage={where}: {reason}; check that the database exists and can be reached"
        raise SearchError(hide_password(line)) from None


def open_study(
    storage: BaseStorage,
    name: str,
    metric: Metric,
    *,
    one_objective: bool,
    of: str = "",
    seed: tuple[int, ...] = (0,),
    pruner: Any = None,
) -> optuna.Study:
    """Open the study `name`; create it if it does not exist.

    >>> study = open_study(open_storage("study.log"), "first", Metric("accuracy"), one_objective=False)

    Args:
        metric: the metric of the task on validation images; it says whether more of it is better.
        one_objective: if True, the metric alone counts, under a limit of GFLOPs; if False, GFLOPs are minimised, too.
        of: hash of the settings that all trials have in common.
        seed: seed of the TPE sampler. Include the number of the worker, so that workers draw different trials. The
            number of existing trials is added, so that a restarted worker does not draw its first trials again.
        pruner: Optuna pruner, for one objective only; None disables pruning.

    Raises:
        SearchError: the study has trials with other settings, which cannot be compared with new trials.
    """
    better = "maximize" if metric.higher_is_better else "minimize"
    directions: Any = {"direction": better} if one_objective else {"directions": [better, "minimize"]}
    objectives = [metric.on_validation] if one_objective else [metric.on_validation, GFLOPS]
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        pruner=pruner or optuna.pruners.NopPruner(),
        load_if_exists=True,
        **directions,
    )
    before = study.user_attrs.get(COMMON_SETTINGS)
    if before is None:
        study.set_user_attr(COMMON_SETTINGS, of)
    elif before != of or study.metric_names not in (None, objectives):
        raise SearchError(
            f"sweep.study={name}: is of other settings, data, bounds or objectives; give another name, or none"
        )
    begun = len(study.get_trials(deepcopy=False))
    study.sampler = TPESampler(seed=int(np.random.SeedSequence((*seed, begun)).generate_state(1)[0]))
    study.set_metric_names(objectives)
    return study


def hide_password(text: str) -> str:
    """`text` with the passwords of its URLs masked, because error lines end up in logs."""
    return re.sub(r"://([^/@:\s]*):[^/@\s]*@", r"://\1:***@", text)
