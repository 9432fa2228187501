"""`python -m experiments.tasks.overcoupling [--root FOLDER]`: do strong couplings of late taps mask low-level cues?

Nothing is trained. In the loops of the experiment `main` the couplings between the two later taps are multiplied by N,
U_lk ← N U_lk in both directions. The influence of low-level cues is the share of test images whose predicted class
changes when the couplings out of the first tap are set to zero.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.data import normalise, track
from dynaxx.evaluation import logits
from dynaxx.evaluation.arms import load_arm
from dynaxx.evaluation.statistics import mean_interval
from dynaxx.files import write_text
from experiments.findings import EXPLICIT, RESULTS
from experiments.job import ROOT, Job
from experiments.published import published_task
from experiments.tasks.cifar10 import COARSE, main as main_experiment
from pipelines.common.source import open_source
from pipelines.common.stage import read_params

AS_TRAINED = 1.0
FACTORS = (0.5, AS_TRAINED, 2.0, 4.0)
IMAGES = 1000


@contextmanager
def amplified(model: ResonantModel, factor: float) -> Iterator[None]:
    """Within the block the couplings between all taps but the first are `factor` times as strong."""
    couplings = model.require_built().exchange.couplings
    later = [couplings.of(pair)[1] for pair in couplings.pairs if 0 not in pair]
    before = [U.detach().clone() for U in later]
    with torch.no_grad():
        for U in later:
            U.mul_(factor)
    try:
        yield
    finally:
        with torch.no_grad():
            for U, own in zip(later, before, strict=True):
                U.copy_(own)


def predict(model: ResonantModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted classes with and without the messages from the first tap, (N,) each."""
    pairs = model.require_built().exchange.couplings.pairs
    heard = logits(model, images).argmax(1)
    with model.ablated(number for number, pair in enumerate(pairs) if pair.source == 0):
        return heard, logits(model, images).argmax(1)


def measure(params: DictConfig, root: Path, jobs: Iterable[Job]) -> dict[str, Any]:
    """Accuracy per factor, and the share of images whose prediction depends on the first tap.

    The difference of that share to the one as trained has an interval over images.

    >>> measure(read_params(), root, main_experiment())["factors"][0]["factor"]
    0.5

    Raises:
        ValueError: no seed of explicit is complete.
    """
    done = [job for job in jobs if job.arm == EXPLICIT and job.done(root)]
    if not done:
        raise ValueError(f"--root {root}: no seed of {EXPLICIT} is complete; run the experiment main")
    task = published_task(params, root=root / COARSE, cache=root / "features")
    test = open_source(params.data).test()
    every = slice(None, None, max(1, len(test) // IMAGES))
    images, labels = normalise(test.images[every], task.normalisation), test.labels[every]
    right: dict[float, list[Tensor]] = {factor: [] for factor in FACTORS}
    heeds: dict[float, list[Tensor]] = {factor: [] for factor in FACTORS}
    for job in track(done, "amplifying the loop of each seed"):
        model = load_arm(job.folder(root), task.backbone())
        assert isinstance(model, ResonantModel)
        for factor in FACTORS:
            with amplified(model, factor):
                heard, unheard = predict(model, images)
            right[factor].append(heard == labels)
            heeds[factor].append(heard != unheard)
    share_N = {factor: torch.stack(found).double().mean(0).numpy() for factor, found in heeds.items()}
    return {
        "seeds": len(done),
        "images": len(images),
        "factors": [
            {
                "factor": factor,
                "accuracy": float(torch.stack(right[factor]).double().mean()),
                "heeds": float(np.mean(share_N[factor])),
                "against trained": asdict(mean_interval(share_N[factor] - share_N[AS_TRAINED])),
            }
            for factor in FACTORS
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    try:
        found = measure(read_params(), root, main_experiment())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_text(RESULTS / "overcoupling.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
