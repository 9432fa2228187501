"""Stratified, seeded splits of a pool of labelled images."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from dynaxx.data.errors import DataError
from dynaxx.data.group_splits import draw_groups
from dynaxx.data.images import LabelledImages

QUANTILES = 10
"""Largest number of quantiles of a number whose proportions a split keeps."""


def stratified_halves(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split a pool of labelled images into two parts with equal class proportions.

    >>> first, second = stratified_halves(torch.arange(100) % 10, fraction=0.2, seed=0)
    >>> len(first), len(second)
    (20, 80)

    Args:
        labels: class numbers, integers (N,).
        fraction: share of the first part, in [0, 1); 0 gives an empty first part.
        seed: the same seed gives the same parts.

    Returns:
        (first_index, second_index): int64, sorted, disjoint, together 0..N-1; the first has round(fraction * N).

    Raises:
        DataError: the fraction is outside [0, 1), or a part is too small to hold every class.
    """
    if not 0 <= fraction < 1:
        raise DataError(f"fraction must lie in [0, 1), got {fraction}")
    n_first = round(fraction * len(labels))
    if fraction == 0:
        return torch.empty(0, dtype=torch.int64), torch.arange(len(labels))
    return _stratified(labels, n_first, len(labels) - n_first, seed, ("first", "second"))


def split_each_class(labels: Tensor, fraction: float, seed: int, leave: int = 0) -> tuple[Tensor, Tensor]:
    """Two parts of every class, as `stratified_halves` gives them, for classes of any size.

    Where a class is too rare for that, each class is split by itself: the first part has its share, but at least one
    image, of those that are not left to the second part.

    >>> first, second = split_each_class(torch.tensor([0] * 40 + [1] * 3), fraction=0.5, seed=0, leave=2)
    >>> labels[second].bincount()
    tensor([20, 2])

    Args:
        labels: class numbers, integers (N,).
        fraction: share of the first part, in [0, 1); 0 gives an empty first part.
        seed: the same seed gives the same parts.
        leave: number of images of each class that the second part has at least, if there are as many.

    Raises:
        DataError: the fraction is outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise DataError(f"fraction must lie in [0, 1), got {fraction}")
    try:
        first, second = stratified_halves(labels, fraction, seed)
        counts = labels[second].bincount(minlength=int(labels.max()) + 1)
        if counts[labels.unique()].min() >= leave:
            return first, second
    except DataError:
        pass  # a class is too rare for its share
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = shuffled[labels[shuffled] == label]
        count = max(1, round(fraction * len(members)))
        taken[members[: max(0, min(count, len(members) - leave))]] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()


def draw(
    labels: Tensor,
    n_train: int | None,
    n_val: int,
    seed: int,
    imbalance: float = 1.0,
    *,
    groups: Sequence[str] = (),
    rare: Mapping[int, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw a training and a validation part from a pool of labelled images, with the class proportions of the pool.

    Labels that are numbers keep the proportions of the first number's quantiles; masks are drawn plainly. With `groups`
    no group has images in both parts, and the sizes are those nearest to the wanted ones that whole groups allow.

    With an `imbalance` above 1 training images are then removed, so that class sizes fall exponentially (Cui et al.,
    CVPR 2019). Class k of K keeps this share of its training images, and at least one image:

        imbalance^(-k / (K - 1)),  k = 0 … K-1 in label order

    The validation part keeps all its images.

    >>> train, val = draw(torch.arange(100) % 10, n_train=60, n_val=20, seed=0)
    >>> len(train), len(val)
    (60, 20)

    Args:
        labels: class numbers, integers (N,); or numbers, floats (N, K); or masks, uint8 (N, H, W).
        n_train: number of training images; None takes all images except for `n_val`.
        n_val: number of validation images.
        seed: the same seed gives the same draw.
        imbalance: ratio of the kept shares of the first and the last class, at least 1; 1 keeps all images.
        groups: group of each image; () if each stands for itself.
        rare: class number → share of its training images that is kept, at least one image.

    Returns:
        (train_index, val_index): int64, sorted, disjoint.

    Raises:
        DataError: the pool is too small for both parts, a part is too small to hold every class, `imbalance` is below
            1, a share is not in (0, 1], or classes are made rare where labels are none.
    """
    if not 1 <= imbalance < float("inf"):
        raise DataError(f"imbalance must be a number of at least 1, got {imbalance}")
    thinned = {int(number): share for number, share in (rare or {}).items() if _is_share(number, share)}
    if (imbalance > 1 or thinned) and labels.dtype != torch.int64:
        raise DataError(f"imbalance={imbalance}, rare={rare}: the labels are no classes; leave both out")
    if n_train is None:
        n_train = len(labels) - n_val
    is_class = labels.ndim == 1
    strata = labels if is_class else _quantiles(labels, n_train, n_val)
    if len(groups):
        train, val = draw_groups(strata, groups, n_train, n_val, seed, every=is_class)
    else:
        train, val = _stratified(strata, n_train, n_val, seed, ("training", "validation"))
    if imbalance > 1:
        train = _long_tail(labels, train, imbalance, seed)
    return (_thinned(labels, train, thinned, seed) if thinned else train), val


def draw_images(
    images: LabelledImages,
    n_train: int | None,
    n_val: int,
    seed: int,
    imbalance: float = 1.0,
    rare: Mapping[str, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """`draw` from labelled images: their groups are kept whole, and rare classes are given by name.

    >>> train, val = draw_images(prepared.task(), None, 100, seed=0, rare={"river": 0.05})

    Raises:
        DataError: see `draw`; or a rare class that does not exist.
    """
    for name in rare or ():
        if images.kind != "classes" or str(name) not in images.classes:
            known = ", ".join(images.classes) if images.kind == "classes" else f"none, the labels are {images.kind}"
            raise DataError(f"task.rare names {str(name)!r}, which is no class; classes: {known}")
    numbered = {images.classes.index(str(name)): share for name, share in (rare or {}).items()}
    return draw(images.labels, n_train, n_val, seed, imbalance, groups=images.groups, rare=numbered)


def _is_share(number: int, share: float) -> bool:
    if not 0 < share <= 1:
        raise DataError(f"rare: the share of class {number} must lie in (0, 1], got {share}")
    return True


def _quantiles(labels: Tensor, n_train: int, n_val: int) -> Tensor:
    """Number of the quantile in which each image lies by its first number; all 0 for masks, or too few images."""
    count = min(QUANTILES, n_train // 2, n_val // 2, len(labels) // 2)
    if labels.ndim != 2 or count < 2:
        return torch.zeros(len(labels), dtype=torch.int64)
    return labels[:, 0].argsort(stable=True).argsort() * count // len(labels)


def _thinned(labels: Tensor, index: Tensor, shares: Mapping[int, float], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shuffled = index[torch.randperm(len(index), generator=generator)]
    kept = torch.ones(len(labels), dtype=torch.bool)
    for label, share in shares.items():
        members = shuffled[labels[shuffled] == label]
        kept[members[max(1, round(share * len(members))) :]] = False
    return index[kept[index]]


def _long_tail(labels: Tensor, index: Tensor, imbalance: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shuffled = index[torch.randperm(len(index), generator=generator)]
    present = labels.unique()
    kept = []
    for k, label in enumerate(present):
        members = shuffled[labels[shuffled] == label]
        share = imbalance ** (-k / max(1, len(present) - 1))
        kept.append(members[: max(1, round(share * len(members)))])
    return torch.cat(kept).sort().values


def _stratified(
    labels: Tensor, n_first: int, n_second: int, seed: int, names: tuple[str, str]
) -> tuple[Tensor, Tensor]:
    from sklearn.model_selection import train_test_split

    if not 0 <= seed < 2**32:
        raise DataError(f"seed must lie in [0, 2**32), got {seed}")
    present, counts = np.unique(labels.numpy(), return_counts=True)
    sizes = f"{n_first} {names[0]} and {n_second} {names[1]} images out of {len(labels)}"
    if n_first + n_second > len(labels):
        raise DataError(f"the pool is too small for {sizes}")
    if min(n_first, n_second) < max(1, len(present)):
        raise DataError(f"cannot draw {sizes}: each part needs one image of each of {len(present)} classes")
    if counts.min() < 2:
        rare = int(present[counts.argmin()])
        raise DataError(f"cannot draw {sizes}: class {rare} has {counts.min()} image, at least 2 are needed")

    first, second = train_test_split(
        np.arange(len(labels)),
        train_size=n_first,
        test_size=n_second,
        stratify=labels.numpy(),
        random_state=seed,
    )
    for name, part in zip(names, (first, second), strict=True):
        missing = np.setdiff1d(present, labels.numpy()[part])
        if len(missing):
            held = int(counts[np.searchsorted(present, missing[0])])
            raise DataError(f"cannot draw {sizes}: class {missing[0]} has {held} images, too few for one {name} image")
    return torch.from_numpy(np.sort(first)), torch.from_numpy(np.sort(second))
