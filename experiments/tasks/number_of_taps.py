"""`python -m experiments.tasks.number_of_taps [--root FOLDER]`: explicit with two to six taps, on digits.

The command trains missing fits, needs no data and does not read params.yaml. Taps lie evenly over the depth. The rank
is the same for all, so more taps have more couplings and parameters. In the findings `explicit` has three taps.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import DictConfig

from dynaxx.evaluation.cost import hardware
from dynaxx.selection import spread
from experiments.findings import EXPLICIT, RESULTS, Finding, write
from experiments.job import BACKBONE_ARM, CACHE, ROOT, Job
from experiments.published import published_task
from experiments.tasks.cifar10 import SEEDS
from experiments.tasks.digits import compared, default_params, train

DIGITS_SETTING = "digits"
REFERENCE = 3
TAPS = (2, REFERENCE, 4, 5, 6)


def jobs(params: DictConfig, root: Path, taps: Iterable[int], seeds: Iterable[int]) -> list[Job]:
    """Jobs of the baseline and of explicit with each number of taps, for every seed; the setting must exist."""
    task = published_task(params, root=root / DIGITS_SETTING, cache=root / "features")
    chosen = {n: tuple(spread(task.backbone(), task.example(), n)) for n in taps}
    found = [Job(DIGITS_SETTING, "taps", "baseline", seed) for seed in seeds]
    for n, paths in chosen.items():
        found += [Job(DIGITS_SETTING, f"taps-{n}", EXPLICIT, seed, probes="taps", taps=paths) for seed in seeds]
    return found


def by_taps(params: DictConfig, root: Path, taps: Sequence[int] = TAPS, seeds: Sequence[int] = SEEDS) -> Finding:
    """Train missing fits, and compare three taps with the probe and with the other numbers of taps."""
    train([Job(DIGITS_SETTING, "", made, 0) for made in (BACKBONE_ARM, CACHE)], params, root, "preparing the digits")
    fits = jobs(params, root, taps, seeds)
    train(fits, params, root, "training with two to six taps")
    return compared(f"{DIGITS_SETTING}/taps", fits, params, root, _arm_name)


def _arm_name(job: Job) -> str:
    return job.arm if job.arm != EXPLICIT or job.condition == f"taps-{REFERENCE}" else job.condition


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    write([by_taps(default_params(), root)], RESULTS / "taps.json", {"evaluated on": hardware()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
