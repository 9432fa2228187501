"""The dense task's arms on corrupted images, and its loop with other numbers of iterations than in training.

`python -m experiments.tasks.membrane.shift --slices FILE [--root FOLDER] [--seeds 0,1,2]`: nothing is trained.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynaxx import load_resonance
from dynaxx.evaluation.arms import named
from dynaxx.evaluation.cost import hardware
from dynaxx.evaluation.robustness import CORRUPTIONS
from experiments.findings import RESULTS, Finding, find, write
from experiments.job import MEMBRANE, ROOT, Job
from experiments.tasks.cifar10 import dense
from experiments.tasks.membrane.task import TEST, dense_task, intersection_over_union, predict, slices
from pipelines.common.stage import read_params

STRENGTHS = (2, 4)
ITERATIONS = (2, 4, 8, 12, 16)
"""Numbers of iterations to evaluate; training used 8."""
COMPARED = named("explicit", "direct")


def shifted(root: Path, path: str, seeds: Sequence[int], report: Callable[[str], None]) -> list[Finding]:
    """Findings per corruption, over both strengths, and per number of iterations.

    >>> shifted(root, "slices.zip", seeds=[0, 1, 2], report=print)[0].condition
    'membrane/noise'

    Raises:
        ValueError: no seed on which both arms are complete below `root`, or unusable slices.
    """
    params = read_params()
    images, labels = slices(path)
    test = list(TEST)
    images, labels = images[test], labels[test]
    jobs = [j for j in dense() if j.condition == "labels-8" and j.arm in COMPARED and j.seed in seeds and j.done(root)]
    if not set.intersection(*({j.seed for j in jobs if j.arm == arm} for arm in COMPARED)):
        raise ValueError(f"--root {root}: no seed of {' and '.join(COMPARED)} is complete; run the experiment dense")

    def iou(job: Job, x: Tensor, T: int | None = None) -> NDArray[np.float64]:
        task = dense_task(params, x, root / MEMBRANE, root)
        model = load_resonance(task.backbone(), job.folder(root))
        with nullcontext() if T is None else model.override(T=T):
            return intersection_over_union(predict(model, x, task), labels).double().numpy()

    found = []
    for name, corrupt in CORRUPTIONS.items():
        rows: dict[str, dict[int, NDArray[np.float64]]] = {arm: {} for arm in COMPARED}
        worse = [corrupt(images, strength) for strength in STRENGTHS]
        for job in jobs:
            rows[job.arm][job.seed] = np.mean([iou(job, x) for x in worse], axis=0)
        found.append(find(f"membrane/{name}", "IoU", rows))
        report(f"{name}: {found[-1].scores}")
    for T in ITERATIONS:
        by_arm: dict[str, dict[int, NDArray[np.float64]]] = {"explicit": {}, "direct": {}}
        for job in jobs:
            if job.arm in by_arm:
                by_arm[job.arm][job.seed] = iou(job, images, T if job.arm == "explicit" else None)
        found.append(find(f"membrane/T-{T}", "IoU", by_arm))
        report(f"T={T}: {found[-1].scores}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--slices", required=True, help="a .zip of image/K.png and label/K.png")
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    parser.add_argument("--seeds", default="0,1,2,3,4,5", help="comma-separated")
    options = parser.parse_args(arguments)
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
        found = shifted(options.root, options.slices, seeds, lambda line: print(line, flush=True))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write(found, RESULTS / "dense_shift.json", {"evaluated on": hardware(), "seeds": seeds})
    return 0


if __name__ == "__main__":
    sys.exit(main())
