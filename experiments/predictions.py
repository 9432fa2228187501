"""What every fit answered to the test images, in experiments/results/predictions:
statistics need neither data nor training.

A file a regime. It has a tensor for each arm and seed, "explicit/0": of classes their numbers as bytes, (N,) or, under
several corruptions, (kinds, N), beside the right ones, "labels" (N,); of slices the IoU of each, (N,). Fits of several
machines come together in it, if the backbone is the same on all: another kind of processor trains another one, and the
arms of a seed are compared image by image, which says nothing where they stand on two.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from experiments.job import ANSWERS, Job

FOLDER = Path(__file__).parent / "results" / "predictions"
LABELS, SUFFIX = "labels", ".safetensors"

PROBE = "baseline/"
"""Of the arm that says which backbone answered: given that and the labels, its head is the only solution."""
ALIKE = 0.99
"""Share of images to which it gives the same answer on the same backbone, even where processors round differently."""

Read = Callable[[Job], Tensor]
"""Of one complete job: its tensor."""

Scores = Mapping[str, Mapping[int, NDArray[np.float64]]]
"""Arm → seed → a number for each test image, (N,)."""


def answered(root: Path, name: str = "clean") -> Read:
    """The answers of this name that a fit below `root` wrote down."""
    return lambda job: load_file(job.folder(root) / ANSWERS)[name]


def gather(
    jobs: Iterable[Job], root: Path, read: Read, labels: Tensor | None = None, within: str = "", folder: Path = FOLDER
) -> None:
    """Add what complete jobs answered; a fit that is there already is replaced.

    Args:
        root: where fits are kept.
        labels: right answers, (N,); None where `read` gives scores.
        within: a part of the regime that is a regime of its own, as "/corrupted".

    Raises:
        ValueError: the file has other right answers, or its probes other answers: its fits saw other images or stand
            on another backbone.
    """
    by_regime: dict[str, dict[str, Tensor]] = {}
    for job in jobs:
        if job.regime and job.done(root):
            by_regime.setdefault(f"{job.world}/{job.regime}{within}", {})[f"{job.arm}/{job.seed}"] = read(job)
    for regime, found in by_regime.items():
        save(regime, found, labels, folder)


def save(regime: str, found: Mapping[str, Tensor], labels: Tensor | None, folder: Path = FOLDER) -> None:
    """Add tensors, "arm/seed", to the file of `regime`; see `gather`."""
    path = folder / f"{regime}{SUFFIX}"
    before = load_file(path) if path.exists() else {}
    right = {} if labels is None else {LABELS: labels}
    if labels is not None and not before.get(LABELS, labels).equal(labels):
        raise ValueError(f"{path}: is about other test images; give the same data, or move it away")
    for name in found:
        if name.startswith(PROBE) and name in before and _alike(found[name], before[name]) < ALIKE:
            raise ValueError(f"{path}: {name} answered on another backbone; fit every arm here, and move the file away")
    aside = path.with_name(f".{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted((before | dict(found) | right).items())), aside)
    os.replace(aside, path)


def _alike(a: Tensor, b: Tensor) -> float:
    return a.double().isclose(b.double(), atol=1e-3).double().mean().item()


def read_scores(folder: Path = FOLDER) -> dict[str, Scores]:
    """Regime → scores: 1 for each image that was answered correctly and 0 for the others, of corrupted ones the mean
    over all kinds; or the IoU of each slice.
    """
    return {
        str(path.relative_to(folder)).removesuffix(SUFFIX): _scores(load_file(path))
        for path in sorted(folder.rglob(f"[!.]*{SUFFIX}"))
    }


def _scores(tensors: dict[str, Tensor]) -> Scores:
    labels = tensors.pop(LABELS, None)
    by_arm: dict[str, dict[int, NDArray[np.float64]]] = {}
    for name, tensor in tensors.items():
        arm, seed = name.split("/")
        score = tensor if labels is None else (tensor == labels).double().view(-1, len(labels)).mean(0)
        by_arm.setdefault(arm, {})[int(seed)] = score.double().numpy()
    return {arm: dict(sorted(seeds.items())) for arm, seeds in by_arm.items()}
