"""`python -m experiments.tasks.overcoupling [--root FOLDER]`:
do strong couplings between middle and late drown low-level cues?

Nothing is trained. In the loops of the study `main` the couplings between the two later taps are made N times as
strong, U_lk ← N U_lk both ways. How much a loop heeds low-level cues is the share of test images whose answer changes
when the couplings out of the first tap fall silent.
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
from dynaxx.data import normalise
from dynaxx.data.progress import track
from dynaxx.evaluation import logits
from dynaxx.evaluation.arms import load_arm
from dynaxx.evaluation.statistics import mean_interval
from dynaxx.files import write_text
from experiments.analysis.findings import EXPLICIT, RESULTS
from experiments.job import Job
from experiments.run import ROOT
from experiments.tasks.cifar10 import COARSE
from experiments.tasks.cifar10 import main as study
from pipelines.common.source import open_source
from pipelines.common.stage import read_params
from pipelines.common.task import build_task

AS_TRAINED = 1.0
FACTORS = (0.5, AS_TRAINED, 2.0, 4.0)
IMAGES = 1000


@contextmanager
def amplified(model: ResonantModel, factor: float) -> Iterator[None]:
    """Within the block the couplings between all taps but the first are `factor` times as strong."""
    couplings = model.built().couplings
    later = [U for U, pair in zip(couplings.U, couplings.pairs, strict=True) if 0 not in pair]
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


def answers(model: ResonantModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """The classes that it gives, and those that it gives without a word from the first tap, (N,) each."""
    engine = model.built()
    heard = logits(model, images).argmax(1)
    with engine.silenced(engine.couplings.out_of(0)):
        return heard, logits(model, images).argmax(1)


def asked(params: DictConfig, root: Path, jobs: Iterable[Job]) -> dict[str, Any]:
    """By factor the accuracy and the share of images that heed the first tap; and how that share differs from the
    share as trained, with its interval over images.

    Raises:
        ValueError: none is complete.
    """
    done = [job for job in jobs if job.arm == EXPLICIT and job.done(root)]
    if not done:
        raise ValueError(f"--root {root}: no seed of {EXPLICIT} is complete; run the study main")
    task = build_task(params, root=root / COARSE, cache=root / "features")
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
                heard, unheard = answers(model, images)
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
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    try:
        found = asked(read_params(), root, study())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_text(RESULTS / "overcoupling.json", json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
