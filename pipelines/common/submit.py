"""Running a stage as a cluster job (submitit): one task for each process of its trainer, and wait for it."""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

INSIDE = "DYNAXX_INSIDE_JOB"
"""Set in a job's processes: they train, and submit nothing."""

CLUSTERS = ("slurm", "local")


def wants_job(params: DictConfig) -> bool:
    """Whether the stage has to be submitted, and is not running as a job already."""
    return params.get("launcher") is not None and INSIDE not in os.environ


def submit(name: str, params: DictConfig, logs: Path) -> int:
    """Submit stage `name`, wait, and print what its first process printed; its exit code.

    Raises:
        ValueError: no such cluster, no such cluster here, or options that submitit does not know.
        RuntimeError: a job that the cluster refuses, or that ended without saying how.
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
    """What each process of the job does; the stage's exit code."""
    import submitit

    os.environ[INSIDE] = "1"
    # RANK and its like, for whoever asks before Lightning has seen the cluster
    submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    sys.argv = [name]
    try:
        runpy.run_module(f"pipelines.{name}", run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
