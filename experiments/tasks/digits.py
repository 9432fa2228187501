"""Shared parts of the experiments on scikit-learn's digits, which need no data and train in minutes."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from dynaxx.data import track
from experiments.findings import Finding, find
from experiments.fit import run_job
from experiments.job import Job
from experiments.predictions import read_predictions
from pipelines.common.source import open_source
from pipelines.compose import compose_all


def default_params() -> DictConfig:
    """The parameters of the default run; params.yaml is not read."""
    params = OmegaConf.create(compose_all(["experiment=coarse_digits"]))
    assert isinstance(params, DictConfig)
    return params


def train(jobs: Iterable[Job], params: DictConfig, root: Path, description: str) -> None:
    """Run all jobs that are not complete, in their order; `description` labels the progress bar."""
    for job in track([job for job in jobs if not job.done(root)], description):
        run_job(job, params, root)


def compared(
    condition: str, jobs: Iterable[Job], params: DictConfig, root: Path, arm_name: Callable[[Job], str]
) -> Finding:
    """The finding of complete jobs; `arm_name` returns the name of a job's arm in the finding."""
    labels, read = open_source(params.data).test().labels, read_predictions(root)
    by_arm: dict[str, dict[int, NDArray[np.float64]]] = {}
    for job in jobs:
        by_arm.setdefault(arm_name(job), {})[job.seed] = (read(job) == labels).double().numpy()
    return find(condition, "accuracy", by_arm)
