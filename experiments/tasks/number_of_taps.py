"""`python -m experiments.tasks.number_of_taps [--root FOLDER]`:
explicit with two to six taps, on the digits of the default run.

Trains what is missing, needs no data and leaves params.yaml alone. Taps lie evenly over the depth, the rank is the
experiment's for all: more taps are more couplings, and more parameters. Of the findings `explicit` has three taps.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from dynaxx.evaluation.cost import hardware
from dynaxx.selection.spread import spread
from experiments.analysis.findings import EXPLICIT, RESULTS, Finding, write
from experiments.job import CACHE, WORLD, Job
from experiments.run import ROOT
from experiments.tasks.cifar10 import SEEDS
from experiments.tasks.digits import compared, default_params, train
from pipelines.common.task import build_task

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


def by_taps(params: DictConfig, root: Path, taps: Sequence[int] = TAPS, seeds: Sequence[int] = SEEDS) -> Finding:
    """Train what is missing; three taps against the probe and against the other numbers of taps."""
    train([Job(WORLD_OF_DIGITS, "", made, 0) for made in (WORLD, CACHE)], params, root, "preparing the digits")
    fits = jobs(params, root, taps, seeds)
    train(fits, params, root, "training with two to six taps")
    return compared(f"{WORLD_OF_DIGITS}/taps", fits, params, root, _called)


def _called(job: Job) -> str:
    return job.arm if job.arm != EXPLICIT or job.regime == f"taps-{REFERENCE}" else job.regime


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    write([by_taps(default_params(), root)], RESULTS / "taps.json", {"evaluated on": hardware()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
