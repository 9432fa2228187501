"""`python -m experiments.tasks.iterations [--root FOLDER]`:
the loops of the study `main` with other numbers of iterations.

Nothing is trained. Explicit runs for N iterations instead of those that it was trained with, and adaptively: each image
until it has settled. Both are asked of all test images and of the hard ones alone, where an adaptive loop would go on
for longer. Hard is the quarter on which the baselines are least sure of themselves; no label says so.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.data import normalise
from dynaxx.data.progress import track
from dynaxx.evaluation import logits
from dynaxx.evaluation.arms import load_arm, named
from dynaxx.evaluation.inside import traced
from dynaxx.files import write_text
from experiments.analysis.findings import EXPLICIT, RESULTS
from experiments.job import Job
from experiments.predictions import save
from experiments.run import ROOT
from experiments.tasks.cifar10 import COARSE
from experiments.tasks.cifar10 import main as study
from pipelines.common.source import open_source
from pipelines.common.stage import read_params
from pipelines.common.task import build_task

ITERATIONS = (1, 2, 8, 20)
TOLERANCE, MOST = 1e-3, 20
COMPARED = named("baseline", EXPLICIT, "direct")
HARD = 0.25

Answers = tuple[Mapping[str, Tensor], Tensor]
"""Of each arm and seed, and the right ones."""


@contextmanager
def adaptive(model: ResonantModel) -> Iterator[None]:
    """Within the block each image's loop ends where it has settled."""
    engine, T = model.built(), model.T
    before, engine.config, model.T = engine.config, replace(engine.config, tolerance=TOLERANCE), MOST
    try:
        yield
    finally:
        engine.config, model.T = before, T


def until_settled(model: ResonantModel, images: Tensor) -> Tensor:
    """Iterations that each image takes to come within the tolerance at every tap, (N,); at most `MOST`."""
    residual, _ = traced(model, images, MOST)
    return 1 + (residual > TOLERANCE).any(1).long().cumprod(0).sum(0).clamp_max(MOST - 1)


def classes(model: nn.Module, images: Tensor) -> Tensor:
    """The numbers of the classes that it answers, (N,), as bytes."""
    return logits(model, images).argmax(1).to(torch.uint8)


def asked(params: DictConfig, root: Path, jobs: Iterable[Job]) -> tuple[dict[str, Answers], dict[str, Any]]:
    """By regime what explicit and direct answer and what is right, and how many iterations images take.

    Args:
        jobs: of the arms `COMPARED`; a seed on which they are not all complete is left out.

    Raises:
        ValueError: they are complete on none.
    """
    done: dict[int, dict[str, Job]] = {}
    for job in jobs:
        if job.arm in COMPARED and job.done(root):
            done.setdefault(job.seed, {})[job.arm] = job
    done = {seed: by_arm for seed, by_arm in done.items() if len(by_arm) == len(COMPARED)}
    if not done:
        raise ValueError(f"--root {root}: no seed of {', '.join(COMPARED)} is complete; run the study main")
    task = build_task(params, root=root / COARSE, cache=root / "features")
    test = open_source(params.data).test()
    images, labels = normalise(test.images, task.normalisation), test.labels.to(torch.uint8)
    sure, taken = torch.zeros(len(images)), []
    answers: dict[str, dict[str, Tensor]] = {}
    for seed, by_arm in track(list(done.items()), "asking the loops of each seed"):
        baseline, loop, direct = (load_arm(by_arm[arm].folder(root), task.backbone()) for arm in COMPARED)
        assert isinstance(loop, ResonantModel)
        sure += logits(baseline, images).softmax(1).amax(1)
        taken.append(until_settled(loop, images))
        trained = loop.T
        found = {}
        for T in sorted({trained, *ITERATIONS}):
            loop.T = T
            found[f"T-{T}"] = classes(loop, images)
        loop.T = trained
        with adaptive(loop):
            found["T-adaptive"] = classes(loop, images)
        once = classes(direct, images)
        for name, own in found.items():
            answers.setdefault(name, {}).update({f"{EXPLICIT}/{seed}": own, f"direct/{seed}": once})

    hard = sure.argsort()[: round(HARD * len(images))].sort().values
    regimes: dict[str, Answers] = {f"{COARSE}/main/{name}": (tensors, labels) for name, tensors in answers.items()}
    for name, tensors in answers.items():
        regimes[f"{COARSE}/main/hard/{name}"] = {key: tensor[hard] for key, tensor in tensors.items()}, labels[hard]
    easy = torch.ones(len(images), dtype=torch.bool).index_fill(0, hard, False)
    mean = torch.stack(taken).double().mean(0)
    told = {
        "tolerance": TOLERANCE,
        "seeds": len(taken),
        "images": {"hard": len(hard), "others": int(easy.sum())},
        "iterations": {"hard": float(mean[hard].mean()), "others": float(mean[easy].mean())},
    }
    return regimes, told


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    try:
        regimes, told = asked(read_params(), root, study())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for regime, (tensors, labels) in regimes.items():
        save(regime, tensors, labels)
    write_text(RESULTS / "iterations.json", json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
