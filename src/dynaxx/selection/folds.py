"""Folds of a cross-validation that keep groups whole, and the order of images on which they do not depend."""

import hashlib
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dynaxx import ResonanceError
from dynaxx.data import LabelledImages


def canonical_order(images: LabelledImages) -> Tensor:
    """Numbers of the images in an order that their content gives, int64 (N,).

    A draw or a fold that is taken in this order is the same however the images were ordered.

    >>> canonical_order(images)  # doctest: +SKIP
    tensor([2, 0, 1])
    """

    def key(number: int) -> tuple[bytes, str, bytes]:
        pixels = hashlib.blake2b(images.images[number].numpy().tobytes(), digest_size=16).digest()
        group = images.groups[number] if images.groups else ""
        return pixels, group, images.labels[number].numpy().tobytes()

    return torch.tensor(sorted(range(len(images)), key=key), dtype=torch.int64)


def fold_numbers(count: int, strata: Tensor | None, groups: Sequence[str], folds: int, seed: int) -> Tensor:
    """Number of the fold of each sample, int64 (N,): no group lies in two folds, and each fold has all strata's shares.

    >>> fold_numbers(4, None, ("a", "a", "b", "b"), folds=2, seed=0).unique_consecutive().shape
    torch.Size([2])

    Args:
        count: N.
        strata: number of each sample's stratum, such as its class, int64 (N,); None if there are none.
        groups: group of each sample; () if each stands for itself.
        folds: number of folds, at least 2.

    Raises:
        ResonanceError: there are fewer samples, or groups, than folds, or each stratum is smaller than their number.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    units, what = (len(set(groups)), "groups") if groups else (count, "images")
    largest = units if strata is None else int(strata.bincount().max())
    if folds < 2 or min(units, largest) < folds:
        of_one = f", at most {largest} of one class" if strata is not None else ""
        raise ResonanceError(
            f"select.folds={folds}: there are {units} {what}{of_one}; give 2 folds or more, at most that"
        )
    if strata is None:
        split = GroupKFold(folds) if groups else KFold(folds, shuffle=True, random_state=seed)
    else:
        split = (StratifiedGroupKFold if groups else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    members = np.unique(list(groups), return_inverse=True)[1] if groups else None
    fold = torch.zeros(count, dtype=torch.int64)
    with warnings.catch_warnings():  # of a class with one image, which a fold lacks
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = split.split(np.zeros(count), np.zeros(count) if strata is None else strata.numpy(), members)
        for number, (_, part) in enumerate(parts):
            fold[torch.from_numpy(part)] = number
    return fold
