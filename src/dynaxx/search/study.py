"""Where a study's trials are kept: a journal file for the workers of one machine, PostgreSQL for those of several."""

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

HEARTBEAT_SECONDS, GRACE_SECONDS = 15, 60
"""Seconds between two signs of life of a worker on a database, and after how long a silent one counts as dead."""

ACCURACY, GFLOPS = "val/accuracy", "cost/gflops"

COMMON_SETTINGS = "of"
"""Attribute of a study: what its trials have in common, as a hash."""

FINITE, LIMIT = "finite", "cost limit"
"""Names of a trial's constraints: its training ended in finite numbers, and it costs no more than it may."""


def open_storage(where: str) -> BaseStorage:
    """The storage at `where`: a file, or a database's url.

    Raises:
        SearchError: a database that does not answer, or a kind that several workers spoil.
    """
    warnings.simplefilter("ignore", ExperimentalWarning)  # the heartbeat is as old as Optuna 2.9
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a trial that fails is told of in one line by its worker
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
        line = f"sweep.storage={where}: {reason}; check that the database exists and answers"
        raise SearchError(hide_password(line)) from None


def open_study(
    storage: BaseStorage,
    name: str,
    *,
    one_objective: bool,
    of: str = "",
    seed: tuple[int, ...] = (0,),
    pruner: Any = None,
) -> optuna.Study:
    """The study `name`, created where it does not exist.

    Args:
        one_objective: accuracy alone, under a limit of cost; else accuracy and GFLOPs.
        of: a mark of all that its trials have in common.
        seed: of the TPE sampler, the number of the worker in it, or all workers would draw the same trials. What is in
            the study already counts, too: a worker that goes on does not draw its first trials again.
        pruner: of trials in one objective; None prunes nothing.

    Raises:
        SearchError: the study has trials of something else, which cannot be compared.
    """
    directions: Any = {"direction": "maximize"} if one_objective else {"directions": ["maximize", "minimize"]}
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
    elif before != of:
        raise SearchError(
            f"sweep.study={name}: is of other settings, data, bounds or objectives; give another name, or none"
        )
    begun = len(study.get_trials(deepcopy=False))
    study.sampler = TPESampler(seed=int(np.random.SeedSequence((*seed, begun)).generate_state(1)[0]))
    study.set_metric_names([ACCURACY] if one_objective else [ACCURACY, GFLOPS])
    return study


def hide_password(text: str) -> str:
    """`text` without the passwords of urls in it: error lines end up in logs."""
    return re.sub(r"://([^/@:\s]*):[^/@\s]*@", r"://\1:***@", text)
