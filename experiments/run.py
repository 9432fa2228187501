"""`python -m experiments.run EXPERIMENT … [--root FOLDER] [--workers N] [--threads N] [--seconds S]`: train all fits.

The command reads params.yaml; complete fits are not repeated. The experiments in docs/ were run with the settings of
`python -m pipelines.compose experiment=cifar10 data.root=PATH trainer=gpu`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from experiments.fit import run_job
from experiments.job import BACKBONE_ARM, CACHE, MEMBRANE, ROOT, Job
from experiments.pool import run_all
from experiments.tasks.cifar10 import EXPERIMENTS
from experiments.tasks.membrane.task import run_membrane
from pipelines.common.stage import read_params


def dispatch(job: Job, params: DictConfig, root: Path) -> str:
    """Run the job and return its result in one line: the dense task has its own fits."""
    return (run_membrane if job.setting == MEMBRANE else run_job)(job, params, root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "experiments", nargs="+", choices=list(EXPERIMENTS), metavar="EXPERIMENT", help=", ".join(EXPERIMENTS)
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no further fit is begun")
    parser.add_argument("--slices", help="a .zip of image/K.png and label/K.png, for the dense task")
    parser.add_argument("--arms", help="only these, comma-separated")
    parser.add_argument("--seeds", help="only these, comma-separated")
    options = parser.parse_args(arguments)
    until = time.time() + options.seconds
    named: dict[str, Job] = {}
    for job in (job for name in options.experiments for job in EXPERIMENTS[name]()):
        named.setdefault(job.name, job)
    jobs = list(named.values())
    if options.arms:
        jobs = [job for job in jobs if job.arm in (*options.arms.split(","), BACKBONE_ARM, CACHE)]
    if options.seeds:
        jobs = [job for job in jobs if job.arm in (BACKBONE_ARM, CACHE) or str(job.seed) in options.seeds.split(",")]
    params = read_params()
    params.slices = options.slices
    missed = run_all(
        jobs, dispatch, params, options.root, workers=options.workers, threads=options.threads, until=until
    )
    print(
        f"{len(jobs) - len(missed)} of {len(jobs)} jobs are complete"
        + "".join(f"\n  missing: {m}" for m in missed[:20])
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
