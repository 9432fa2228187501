"""Settings that follow the size of the data; the stages say what was adapted."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from dynaxx.data import DataError, LabelledImages, draw_images

USUAL_VALIDATION = 100
"""Number of validation images of task.n_val=auto where the data suffice."""


def validation_images(params: DictConfig, images: LabelledImages) -> int:
    """The number of validation images of each seed: task.n_val, or what auto is for the images of the task.

    Auto is 100, at most a fifth of the images, but at least two a class. With rare classes or with groups it is the
    next number for which each class has an image in both parts, for every seed.

    >>> validation_images(params, prepared.task())
    100

    Raises:
        DataError: a class is too rare to train and to validate on, or there are too few images or groups.
    """
    task = params.task
    if task.n_val != "auto":
        return int(task.n_val)
    counts = _counts(images)
    name = min(counts, key=lambda name: counts[name])
    most = len(images) - (len(counts) if task.n_train is None else task.n_train)
    wanted = min(USUAL_VALIDATION, max(len(images) // 5, 2 * len(counts)))
    seeds = [*task.seeds, params.tune.seed, params.vary.seed]
    if counts[name] >= 2:
        for count in range(min(wanted, most), most + 1):
            if can_be_drawn(images, task.n_train, count, seeds):
                return count
    groups = f" in {len(set(images.groups))} groups" if images.groups else ""
    of_class = f", {counts[name]} of class {name!r}" if name else ""
    raise DataError(
        f"the task has {len(images)} images{groups}{of_class}: too few to train and to validate on; give "
        + ("more groups" if groups else "more images")
        + (" of it" if of_class else "")
        + ", a smaller data.pretrain_fraction (0 with a trained model, as model=timm)"
        + ", or a smaller task.n_train" * (task.n_train is not None)
    )


def _counts(images: LabelledImages) -> dict[str, int]:
    """Class → number of its images; one nameless class where the labels are no classes, or all of one."""
    if images.kind != "classes" or not images.labels.any():
        return {"": len(images)}
    return dict(zip(images.classes, images.labels.bincount(minlength=len(images.classes)).tolist(), strict=True))


def can_be_drawn(images: LabelledImages, n_train: int | None, n_val: int, seeds: Sequence[int]) -> bool:
    """Whether each of these seeds draws images to train and to validate on, of each class at least one.

    Where groups are kept whole, they may be fewer to train on than `n_train`, and more to validate on than `n_val`.

    >>> can_be_drawn(prepared.task(), n_train=None, n_val=12, seeds=[0])
    True
    """
    try:
        for seed in seeds:
            draw_images(images, n_train, n_val, seed)
    except DataError:
        return False
    return True


def that_many(images: LabelledImages, n_train: int, n_val: int, seed: int) -> bool:
    """Whether this seed draws exactly so many images to train on, as a point of a label curve says.

    >>> that_many(prepared.task(), n_train=50, n_val=100, seed=100)
    True
    """
    try:
        train, _ = draw_images(images, n_train, n_val, seed)
    except DataError:
        return False
    return len(train) == n_train


def folds_for(wanted: int, images: LabelledImages) -> int:
    """The number of folds of a cross-validation of these images: at most what `limit_of_folds` says, and at least 2.

    >>> folds_for(5, prepared.task())
    5

    Raises:
        DataError: no class has two images, or all images are of one group.
    """
    if images.kind == "classes" and images.labels.bincount().max() < 2:
        raise DataError(
            f"{len(images)} images to train on, one of each class: too few to score layers; give more images"
        )
    if len(set(images.groups)) == 1:
        raise DataError(
            f"all {len(images)} images to train on are of group {images.groups[0]!r}: layers cannot be scored; give "
            "images of other groups, too"
        )
    return max(2, min(wanted, limit_of_folds(images)[0]))


def limit_of_folds(images: LabelledImages) -> tuple[int, str]:
    """The most folds that the images allow, and why: no group is split, and each class should be in each fold.

    >>> limit_of_folds(prepared.task())
    (12, 'the rarest class has 12 images to train on')
    """
    limits = [(len(images), f"there are {len(images)} images to train on")]
    if images.groups:
        groups = len(set(images.groups))
        limits.append((groups, f"the images to train on are in {groups} groups"))
    if images.kind == "classes":
        members = set(zip(images.labels.tolist(), images.groups or range(len(images)), strict=True))
        rarest = min(Counter(label for label, _ in members).values())
        of = "groups" if images.groups else "images"
        limits.append((rarest, f"the rarest class has {rarest} {of} to train on"))
    return min(limits, key=lambda limit: limit[0])


def adapted(key: str, wanted: Any, used: Any, why: str) -> str:
    """What a stage adds to its line if it did not take a setting as it is; empty if it did.

    >>> adapted("select.folds", 5, 4, "the rarest class has 4 images")
    '; adapted: select.folds=4, not 5, as the rarest class has 4 images'
    """
    return "" if wanted == used else f"; adapted: {key}={used}, not {wanted}, as {why}"
