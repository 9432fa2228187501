"""The submission of a stage as a cluster job (submitit), with one task per process of its trainer."""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

INSIDE = "DYNAXX_INSIDE_JOB"
"""Environment variable that marks a job's processes, which train and do not submit."""

CLUSTERS = ("slurm", "local")


def wants_job(params: DictConfig) -> bool:
    """Whether the stage must be submitted and is not running as a job already."""
    return params.get("launcher") is not None and INSIDE not in os.environ


def submit(name: str, params: DictConfig, logs: Path) -> int:
    """Submit stage `name`, wait for it, print the output of its first process, and return the exit code.

    >>> submit("explicit", read_params(), Path(".dynaxx/work/jobs/explicit"))
    0

    Raises:
        ValueError: a cluster that is unknown or not available, or options that submitit does not know.
        RuntimeError: a job that the cluster refuses, or that ends without a result.
    """
    import submitit

    launcher, trainer = params.launcher, params.trainer
    if launcher.cluster not in CLUSTERS:
        raise ValueError(f"launcher.cluster={launcher.cluster}: give one of {', '.join(CLUSTERS)}")
    tasks, nodes = int(trainer.devices), int(trainer.get("num_nodes", 1))
    options: Any = OmegaConf.to_container(launcher.options)
    if trainer.accelerator == "gpu":
        options = {"gpus_per_node": tasks} | options
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=launcher.cluster)
        executor.update_parameters(
            name=f"dynaxx-{name}",
            nodes=nodes,
            tasks_per_node=tasks,
            cpus_per_task=launcher.cpus_per_task,
            timeout_min=launcher.timeout_min,
            **options,
        )
    except (RuntimeError, ValueError, NameError, AssertionError) as error:  # an unknown option is a NameError there
        raise ValueError(f"launcher: {str(error).splitlines()[0]}") from None
    job = executor.submit(run_stage, name)
    print(f"{name}: submitted as job {job.job_id} on {nodes} x {tasks} processes; logs are in {logs}", flush=True)
    try:
        codes = job.results()
    except submitit.core.utils.UncompletedJobError as error:
        raise RuntimeError(f"job {job.job_id} ended without a result: {' '.join(str(error).split())[:300]}") from None
    for log, to in ((job.paths.stdout, sys.stdout), (job.paths.stderr, sys.stderr)):  # of the first process
        said = Path(log).read_text().splitlines() if Path(log).exists() else []
        for line in said if to is sys.stdout else said[-1:] * (max(codes) > 0):
            if not line.startswith("submitit "):
                print(line, file=to, flush=True)
    return max(codes)


def run_stage(name: str) -> int:
    """Run the stage in a process of the job, and return its exit code."""
    import submitit

    os.environ[INSIDE] = "1"
    # RANK and the like, for code that needs the rank before Lightning has read it from the cluster
    submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    sys.argv = [name]
    try:
        runpy.run_module(f"pipelines.{name}", run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
