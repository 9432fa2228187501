"""`python -m experiments.tasks.convergence [--root FOLDER]`: convergence of the loops of the experiment `main`.

The result is the share of test images that have converged after each iteration.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dynaxx import ResonantModel
from dynaxx.data import normalise
from dynaxx.evaluation import live
from dynaxx.evaluation.arms import load_arm
from dynaxx.evaluation.inside import settled_shares
from dynaxx.files import write_text
from experiments.findings import RESULTS
from experiments.job import ROOT
from experiments.published import published_task
from experiments.tasks.cifar10 import COARSE, main as main_experiment
from pipelines.common.source import open_source
from pipelines.common.stage import read_params

IMAGES, ITERATIONS, TOLERANCE = 1000, 10, 1e-2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    jobs = [job for job in main_experiment() if job.arm == "explicit" and job.done(root)]
    if not jobs:
        print(f"error: --root {root}: no seed of explicit is complete; run the experiment main", file=sys.stderr)
        return 1
    params = read_params()
    task = published_task(params, root=root / COARSE, cache=root / "features")
    test = open_source(params.data).test()
    images = normalise(test.images[:: max(1, len(test) // IMAGES)], task.normalisation)
    shares: dict[str, list[list[float]]] = {"picard": [], "anderson": []}
    for job in jobs:
        model = load_arm(job.folder(root), task.backbone())
        assert isinstance(model, ResonantModel)
        for solver, found in shares.items():
            found.append(settled_shares(model, live(images), ITERATIONS, TOLERANCE, solver))
    content = {
        "images": len(images),
        "tolerance": TOLERANCE,
        "seeds": len(jobs),
        "settled after": {solver: np.mean(found, axis=0).tolist() for solver, found in shares.items()},
    }
    write_text(RESULTS / "settle.json", json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
