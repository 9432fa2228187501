"""A training and a validation part of images that come in groups: no group has images in both."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dynaxx.data.errors import DataError

EXACT = 300
"""Largest number of groups of a class among which the nearest sum of sizes is searched exactly."""


def draw_groups(
    strata: Tensor, groups: Sequence[str], n_train: int, n_val: int, seed: int, every: bool = True
) -> tuple[Tensor, Tensor]:
    """Draw whole groups to validate on, and images of the other groups to train on.

    Each group belongs to the stratum that most of its images have, and each stratum gives its share of the validation
    part, as nearly as the sizes of its groups allow.

    >>> strata, groups = torch.zeros(6, dtype=torch.int64), ("a", "a", "b", "b", "c", "c")
    >>> train, val = draw_groups(strata, groups, n_train=4, n_val=2, seed=0)
    >>> len(train), len(val)
    (4, 2)

    Args:
        strata: class or quantile of each image, int64 (N,).
        groups: group of each image.
        n_train: number of training images; all that are left if they are fewer.
        n_val: number of validation images, reached as nearly as whole groups allow.
        seed: the same seed gives the same draw.
        every: whether each stratum must have an image in both parts, as classes must.

    Returns:
        (train_index, val_index): int64, sorted, disjoint.

    Raises:
        DataError: too few images, fewer than two groups, or a class that cannot be in both parts.
    """
    if not 0 <= seed < 2**32:
        raise DataError(f"seed must lie in [0, 2**32), got {seed}")
    sizes = f"{n_train} training and {n_val} validation images out of {len(strata)} in groups"
    if n_train + n_val > len(strata) or min(n_train, n_val) < 1:
        raise DataError(f"cannot draw {sizes}: give at least one to each part, and no more than there are")
    names, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"cannot draw {sizes}: all images are of one group, {str(names[0])!r}; give two or more groups")
    labels, random = strata.numpy(), np.random.default_rng(seed)
    chosen = _validation_groups(labels, members, n_val, random)
    if not chosen and not every:  # each quantile has one group, which it cannot share: then one stratum has them all
        chosen = _validation_groups(np.zeros_like(labels), members, n_val, random)
    in_val = np.isin(members, chosen)
    val, rest = np.flatnonzero(in_val), np.flatnonzero(~in_val)
    train = rest if len(rest) <= n_train else _part(labels, rest, n_train, random)
    for name, part in (("training", train), ("validation", val)):
        missing = np.setdiff1d(labels, labels[part])
        if len(part) == 0 or (every and len(missing)):
            which = f"class {missing[0]} " if len(missing) else ""
            raise DataError(
                f"cannot draw {sizes}: {which}has no {name} image, as groups are kept whole; "
                "give more groups, or other sizes"
            )
    return torch.from_numpy(train), torch.from_numpy(val)


def _validation_groups(labels: np.ndarray, members: np.ndarray, n_val: int, random: np.random.Generator) -> list[int]:
    """Numbers of the groups of the validation part."""
    count = int(members.max()) + 1
    sizes = np.bincount(members, minlength=count)
    present, column = np.unique(labels, return_inverse=True)
    table = np.zeros((count, len(present)), dtype=int)
    np.add.at(table, (members, column), 1)
    stratum, shuffled = table.argmax(1), random.permutation(count)
    chosen: list[int] = []
    wanted = taken = 0.0
    for number in range(len(present)):
        own = shuffled[stratum[shuffled] == number]
        if not len(own):
            continue
        wanted += n_val * sizes[own].sum() / len(labels)
        # what one stratum could not reach exactly, the next ones make up for
        target = max(1, round(wanted - taken))
        some = own[nearest(sizes[own].tolist(), target)] if len(own) > 1 else own[:0]
        chosen += some.tolist()
        taken += sizes[some].sum()
    return chosen


def _part(labels: np.ndarray, index: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """So many of the images `index`, of each stratum its share to within one image."""
    shuffled = random.permutation(index)
    by_stratum = shuffled[labels[shuffled].argsort(kind="stable")]
    return np.sort(by_stratum[((np.arange(count) + 0.5) * len(index) / count).astype(int)])


def nearest(sizes: Sequence[int], target: int) -> list[int]:
    """Which of these sizes to add, some but not all of them, for the sum nearest to the target.

    The smaller of two sums as near is taken, and later sizes are preferred. The search is exact among EXACT sizes; if
    there are more, the later ones are added first, as far as they fit.

    >>> nearest([5, 3, 4], target=8)
    [0, 1]
    """
    taken, before = [], 0
    for number in range(len(sizes) - 1, EXACT - 1, -1):
        if before + sizes[number] <= target:
            taken.append(number)
            before += sizes[number]
    pool = sizes[:EXACT]
    reachable = [1]  # bit s of element i: some of the first i sizes sum to s
    for size in pool:
        reachable.append(reachable[-1] | reachable[-1] << size)
    sums = [s for s in range(sum(pool) + 1) if reachable[-1] >> s & 1 and 0 < before + s < sum(sizes)]
    left = min(sums, key=lambda s: (abs(before + s - target), s))
    for number in range(len(pool) - 1, -1, -1):
        if left >= pool[number] and reachable[number] >> (left - pool[number]) & 1:
            taken.append(number)
            left -= pool[number]
    return sorted(taken)
