"""Hyperparameter search with Optuna. No other package of Dynaxx imports Optuna.

A study, the record of all trials of a search, is stored in a journal file or a database (`open_storage`, `open_study`).
Each worker process draws trials from a `Space` and stores its identity with each. Trials of workers that died are
repeated (`requeue_dead`). The results are a Pareto front of the task's metric and cost (`best`), one chosen
point of the front (`knee`), and an HTML page (`write_page`).
"""

from dynaxx.search.errors import SearchError
from dynaxx.search.front import COST, LIVE, SECONDS, Point, best, knee, points
from dynaxx.search.page import cells, write_page
from dynaxx.search.pruning import pruned_by
from dynaxx.search.retry import RETRIES, WORKER
from dynaxx.search.space import Space, draw, read_space
from dynaxx.search.study import (
    FINITE,
    GFLOPS,
    LIMIT,
    hide_password,
    open_storage,
    open_study,
)
from dynaxx.search.workers import Worker, finished, requeue_dead, run_one, running, wanted

__all__ = [
    "COST",
    "FINITE",
    "GFLOPS",
    "LIMIT",
    "LIVE",
    "RETRIES",
    "SECONDS",
    "WORKER",
    "Point",
    "SearchError",
    "Space",
    "Worker",
    "best",
    "cells",
    "draw",
    "finished",
    "hide_password",
    "knee",
    "open_storage",
    "open_study",
    "points",
    "pruned_by",
    "read_space",
    "requeue_dead",
    "run_one",
    "running",
    "wanted",
    "write_page",
]
