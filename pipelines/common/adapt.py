"""Settings that follow the size of the data; the stages say what was adapted."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from dynaxx.data import DataError, LabelledImages, draw

USUAL_VALIDATION = 100
"""Number of validation images of task.n_val=auto where the data suffice."""


def validation_images(params: DictConfig, images: LabelledImages) -> int:
    """The number of validation images of each seed: task.n_val, or what auto is for the images of the task.

    Auto is 100, at most a fifth of the images, but at least two a class. With rare classes it is the next number for
    which each class has an image in both parts, for every seed.

    >>> validation_images(params, prepared.task())
    100

    Raises:
        DataError: a class is too rare to train and to validate on.
    """
    task = params.task
    if task.n_val != "auto":
        return int(task.n_val)
    labels, classes = images.labels, len(images.classes)
    counts = labels.bincount(minlength=classes)
    rarest, name = int(counts.min()), images.classes[int(counts.argmin())]
    most = len(labels) - (classes if task.n_train is None else task.n_train)
    wanted = min(USUAL_VALIDATION, max(len(labels) // 5, 2 * classes))
    seeds = [*task.seeds, params.tune.seed, params.vary.seed]
    if rarest >= 2:
        for count in range(min(wanted, most), most + 1):
            if can_be_drawn(labels, task.n_train, count, seeds):
                return count
    raise DataError(
        f"the task has {len(labels)} images, {rarest} of class {name!r}: too few to train and to validate on; give "
        "more images of it, a smaller data.pretrain_fraction (0 with a trained model, as model=timm)"
        + ", or a smaller task.n_train"
        * (task.n_train is not None)
    )


def can_be_drawn(labels: Tensor, n_train: int | None, n_val: int, seeds: Sequence[int]) -> bool:
    """Whether each of these seeds draws so many images to train and to validate on, of each class at least one.

    >>> can_be_drawn(torch.arange(60) % 3, n_train=None, n_val=12, seeds=[0])
    True
    """
    try:
        for seed in seeds:
            draw(labels, n_train, n_val, seed)
    except DataError:
        return False
    return True


def folds_for(wanted: int, labels: Tensor) -> int:
    """The number of folds of a cross-validation: at most the size of the rarest class, and at least 2.

    >>> folds_for(5, torch.tensor([0, 0, 0, 1, 1, 1]))
    3

    Raises:
        DataError: no class has two images.
    """
    counts = labels.bincount()
    if counts.max() < 2:
        raise DataError(
            f"{len(labels)} images to train on, one of each class: too few to score layers; give more images"
        )
    return max(2, min(wanted, int(counts[counts > 0].min())))


def adapted(key: str, wanted: Any, used: Any, why: str) -> str:
    """What a stage adds to its line if it did not take a setting as it is; empty if it did.

    >>> adapted("select.folds", 5, 4, "the rarest class has 4 images")
    '; adapted: select.folds=4, not 5, as the rarest class has 4 images'
    """
    return "" if wanted == used else f"; adapted: {key}={used}, not {wanted}, as {why}"
