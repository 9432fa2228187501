"""Studies on the digits of the default run: they need no data and train in minutes, so each trains what is missing."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from dynaxx.data.progress import track
from experiments.analysis.findings import Finding, find
from experiments.fit import run_job
from experiments.job import Job
from experiments.predictions import read_predictions
from pipelines.common.source import open_source
from pipelines.compose import compose_all


def default_params() -> DictConfig:
    """Of the default run; params.yaml is not read."""
    params = OmegaConf.create(compose_all([]))
    assert isinstance(params, DictConfig)
    return params


def train(jobs: Iterable[Job], params: DictConfig, root: Path, description: str) -> None:
    """Train what is missing, the first first.

    Args:
        description: what the progress bar says.
    """
    for job in track([job for job in jobs if not job.done(root)], description):
        run_job(job, params, root)


def compared(
    condition: str, jobs: Iterable[Job], params: DictConfig, root: Path, arm_name: Callable[[Job], str]
) -> Finding:
    """What complete jobs found.

    Args:
        arm_name: gives a job's arm the name that it has in the finding.
    """
    labels, read = open_source(params.data).test().labels, read_predictions(root)
    by_arm: dict[str, dict[int, NDArray[np.float64]]] = {}
    for job in jobs:
        by_arm.setdefault(arm_name(job), {})[job.seed] = (read(job) == labels).double().numpy()
    return find(condition, "accuracy", by_arm)
