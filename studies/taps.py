"""`python -m studies.taps [--root FOLDER]`: explicit with two to six taps, on the digits of the default run.

Trains what is missing, needs no data and leaves params.yaml alone. Taps lie evenly over the depth, the rank is the
experiment's for all: more taps are more couplings, and more parameters. Of the findings `explicit` has three taps.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from dynaxx.data.progress import track
from dynaxx.evaluation.hardware import hardware
from dynaxx.selection.spread import spread
from pipelines.compose import compose_all
from pipelines.source import open_source
from pipelines.task import build_task
from studies.answers import answered
from studies.findings import EXPLICIT, RESULTS, Finding, find, write
from studies.fit import run_job
from studies.job import CACHE, WORLD, Job
from studies.regimes import SEEDS
from studies.run import ROOT

WORLD_OF_DIGITS = "digits"
REFERENCE = 3
TAPS = (2, REFERENCE, 4, 5, 6)


def jobs(params: DictConfig, root: Path, taps: Iterable[int], seeds: Iterable[int]) -> list[Job]:
    """The baseline and explicit with each number of taps, of every seed; the world has to be there."""
    task = build_task(params, root=root / WORLD_OF_DIGITS, cache=root / "features")
    chosen = {n: tuple(spread(task.backbone(), task.example(), n)) for n in taps}
    found = [Job(WORLD_OF_DIGITS, "taps", "baseline", seed) for seed in seeds]
    for n, paths in chosen.items():
        found += [Job(WORLD_OF_DIGITS, f"taps-{n}", EXPLICIT, seed, probes="taps", taps=paths) for seed in seeds]
    return found


def compared(params: DictConfig, root: Path, taps: Sequence[int] = TAPS, seeds: Sequence[int] = SEEDS) -> Finding:
    """Train what is missing; three taps against the probe and against the other numbers of taps."""
    for made in (WORLD, CACHE):
        job = Job(WORLD_OF_DIGITS, "", made, 0)
        if not job.done(root):
            run_job(job, params, root)
    fits = jobs(params, root, taps, seeds)
    for job in track([job for job in fits if not job.done(root)], "training with two to six taps"):
        run_job(job, params, root)
    labels, read = open_source(params.data).test().labels, answered(root)
    by_arm: dict[str, dict[int, NDArray[np.float64]]] = {}
    for job in fits:
        arm = EXPLICIT if job.regime == f"taps-{REFERENCE}" else job.regime if job.arm == EXPLICIT else job.arm
        by_arm.setdefault(arm, {})[job.seed] = (read(job) == labels).double().numpy()
    return find(f"{WORLD_OF_DIGITS}/taps", "accuracy", by_arm)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    params = OmegaConf.create(compose_all([]))
    assert isinstance(params, DictConfig)
    write([compared(params, root)], RESULTS / "taps.json", {"evaluated on": hardware()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
