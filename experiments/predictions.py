"""The predictions of all fits for the test images, so that statistics need neither data nor training.

experiments/results/predictions has one file per condition, with one tensor per arm and seed, such as "explicit/0":

    classification: class numbers as bytes, (N,) or, for several corruptions, (kinds, N); the true ones are "labels"
    segmentation: IoU per slice, (N,)

Fits of several machines are merged in a file only if they have the same backbone, because the arms of a seed are
compared per image. The same settings train different backbones on different kinds of processors.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from experiments.job import PREDICTIONS, Job

FOLDER = Path(__file__).parent / "results" / "predictions"
LABELS, SUFFIX = "labels", ".safetensors"

PROBE = "baseline/"
"""Prefix of the baseline. Its predictions identify the backbone, because its probe solves a strictly convex problem."""
SAME_BACKBONE = 0.99
"""Share of equal baseline predictions above which backbones count as equal, in spite of rounding differences."""

Read = Callable[[Job], Tensor]
"""Function from a complete job to its tensor."""

Scores = Mapping[str, Mapping[int, NDArray[np.float64]]]
"""Arm → seed → score of each test image, (N,)."""


def read_predictions(root: Path, name: str = "clean") -> Read:
    """A function that reads the predictions `name` of a fit below `root`."""
    return lambda job: load_file(job.folder(root) / PREDICTIONS)[name]


def gather(
    jobs: Iterable[Job], root: Path, read: Read, labels: Tensor | None = None, within: str = "", folder: Path = FOLDER
) -> None:
    """Add the predictions of complete jobs to the files; earlier predictions of the same fit are replaced.

    >>> gather(jobs, root, read_predictions(root), labels)

    Args:
        root: folder of the fits.
        read: function from a job to its predictions or scores.
        labels: true classes, (N,); None if `read` returns scores.
        within: suffix for predictions that form a condition of their own, such as "/corrupted".
        folder: folder of the files.

    Raises:
        ValueError: the file has other labels, or other predictions of its probes. Its fits belong to other images or
            to another backbone.
    """
    by_condition: dict[str, dict[str, Tensor]] = {}
    for job in jobs:
        if job.condition and job.done(root):
            by_condition.setdefault(f"{job.setting}/{job.condition}{within}", {})[f"{job.arm}/{job.seed}"] = read(job)
    for condition, found in by_condition.items():
        save(condition, found, labels, folder)


def save(condition: str, found: Mapping[str, Tensor], labels: Tensor | None, folder: Path = FOLDER) -> None:
    """Add tensors, named "arm/seed", to the file of `condition`; see `gather`."""
    path = folder / f"{condition}{SUFFIX}"
    before = load_file(path) if path.exists() else {}
    right = {} if labels is None else {LABELS: labels}
    if labels is not None and not before.get(LABELS, labels).equal(labels):
        raise ValueError(f"{path}: belongs to other test images; give the same data, or move the file away")
    for name in found:
        if name.startswith(PROBE) and name in before and _share_equal(found[name], before[name]) < SAME_BACKBONE:
            raise ValueError(f"{path}: {name} has another backbone; fit every arm here, and move the file away")
    aside = path.with_name(f".{path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(sorted((before | dict(found) | right).items())), aside)
    os.replace(aside, path)


def _share_equal(a: Tensor, b: Tensor) -> float:
    return a.double().isclose(b.double(), atol=1e-3).double().mean().item()


def read_scores(folder: Path = FOLDER) -> dict[str, Scores]:
    """Condition → scores of the test images.

    The score of an image is 1 for a correct prediction and 0 otherwise, for corrupted images the mean over all
    corruptions. The score of a slice is its IoU.

    >>> read_scores()["coarse/main"]["explicit"][0].mean()
    0.71
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
