"""`python -m experiments.tasks.iterations [--root FOLDER]`: the experiment `main` with other numbers of iterations.

Nothing is trained. Explicit runs with N iterations instead of the number in training, and adaptively: each image until
it converges. Both are evaluated on all test images and on the hard ones alone, where an adaptive loop would run longer.
The hard images are the quarter on which the baselines are least confident; labels are not used.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.data import normalise, track
from dynaxx.evaluation import live, logits
from dynaxx.evaluation.arms import load_arm, named
from dynaxx.evaluation.inside import traced
from dynaxx.files import write_text
from experiments.findings import EXPLICIT, RESULTS
from experiments.job import ROOT, Job
from experiments.predictions import save
from experiments.published import published_task
from experiments.tasks.cifar10 import COARSE, main as main_experiment
from pipelines.common.source import open_source
from pipelines.common.stage import read_params

ITERATIONS = (1, 2, 8, 20)
TOLERANCE, MAX_ITERATIONS = 1e-3, 20
COMPARED = named("baseline", EXPLICIT, "direct")
HARD = 0.25

Predictions = tuple[Mapping[str, Tensor], Tensor]
"""Predictions of each arm and seed, and the true classes."""


def until_settled(model: ResonantModel, images: Tensor) -> Tensor:
    """Iterations until an image's residual is within the tolerance at every tap, (N,), `MAX_ITERATIONS` at most."""
    residual, _ = traced(model, live(images), MAX_ITERATIONS)
    return 1 + (residual > TOLERANCE).any(1).long().cumprod(0).sum(0).clamp_max(MAX_ITERATIONS - 1)


def classes(model: nn.Module, images: Tensor) -> Tensor:
    """Predicted class numbers, (N,), as bytes."""
    return logits(model, images).argmax(1).to(torch.uint8)


def measure(params: DictConfig, root: Path, jobs: Iterable[Job]) -> tuple[dict[str, Predictions], dict[str, Any]]:
    """Predict the test images with all numbers of iterations.

    >>> conditions, summary = measure(read_params(), root, main_experiment())

    Args:
        root: folder of the fits.
        jobs: jobs of the arms `COMPARED`; seeds on which not all of them are complete are skipped.

    Returns:
        Condition → predictions of explicit and direct with the true classes, and a summary of the iterations needed.

    Raises:
        ValueError: the arms are complete on no seed.
    """
    done: dict[int, dict[str, Job]] = {}
    for job in jobs:
        if job.arm in COMPARED and job.done(root):
            done.setdefault(job.seed, {})[job.arm] = job
    done = {seed: by_arm for seed, by_arm in done.items() if len(by_arm) == len(COMPARED)}
    if not done:
        raise ValueError(f"--root {root}: no seed of {', '.join(COMPARED)} is complete; run the experiment main")
    task = published_task(params, root=root / COARSE, cache=root / "features")
    test = open_source(params.data).test()
    images, labels = normalise(test.images, task.normalisation), test.labels.to(torch.uint8)
    sure, taken = torch.zeros(len(images)), []
    predictions: dict[str, dict[str, Tensor]] = {}
    for seed, by_arm in track(list(done.items()), "evaluating the loops of each seed"):
        baseline, loop, direct = (load_arm(by_arm[arm].folder(root), task.backbone()) for arm in COMPARED)
        assert isinstance(loop, ResonantModel)
        sure += logits(baseline, images).softmax(1).amax(1)
        taken.append(until_settled(loop, images))
        found = {}
        for T in sorted({loop.T, *ITERATIONS}):
            with loop.override(T=T):
                found[f"T-{T}"] = classes(loop, images)
        with loop.override(T=MAX_ITERATIONS, tolerance=TOLERANCE):
            found["T-adaptive"] = classes(loop, images)
        once = classes(direct, images)
        for name, own in found.items():
            predictions.setdefault(name, {}).update({f"{EXPLICIT}/{seed}": own, f"direct/{seed}": once})

    hard = sure.argsort()[: round(HARD * len(images))].sort().values
    conditions: dict[str, Predictions] = {
        f"{COARSE}/main/{name}": (tensors, labels) for name, tensors in predictions.items()
    }
    for name, tensors in predictions.items():
        conditions[f"{COARSE}/main/hard/{name}"] = {key: tensor[hard] for key, tensor in tensors.items()}, labels[hard]
    easy = torch.ones(len(images), dtype=torch.bool).index_fill(0, hard, False)
    mean = torch.stack(taken).double().mean(0)
    summary = {
        "tolerance": TOLERANCE,
        "seeds": len(taken),
        "images": {"hard": len(hard), "others": int(easy.sum())},
        "iterations": {"hard": float(mean[hard].mean()), "others": float(mean[easy].mean())},
    }
    return conditions, summary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    try:
        conditions, summary = measure(read_params(), root, main_experiment())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for condition, (tensors, labels) in conditions.items():
        save(condition, tensors, labels)
    write_text(RESULTS / "iterations.json", json.dumps(summary, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
