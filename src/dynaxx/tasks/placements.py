"""The area under the ROC curve as a mean over samples: placement values, and their influence on it.

    V_i = share of the samples of the other side that sample i is ranked rightly against, a tie counting half
    AUROC = mean of V over the positive samples = mean of V over the negative ones

Method: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).

Shape legend: N samples.
"""

import torch
from torch import Tensor


def placements(evidence: Tensor, positive: Tensor) -> Tensor:
    """The placement value of each sample, float64 (N,), whose mean is the AUROC.

    >>> placements(torch.tensor([0.1, 0.5, 0.4, 0.9]), torch.tensor([False, False, True, True]))
    tensor([1.0000, 0.5000, 0.5000, 1.0000], dtype=torch.float64)

    Args:
        evidence: larger for positive samples, (N,).
        positive: bool (N,), True for positive samples.

    Raises:
        ValueError: there is no positive sample, or no negative one.
    """
    check_sides(positive)
    evidence = evidence.double()
    placed = torch.empty_like(evidence)
    for side, sign in ((positive, 1.0), (~positive, -1.0)):
        others = (sign * evidence[~side]).sort().values
        own = sign * evidence[side]
        below = torch.searchsorted(others, own, right=False) + torch.searchsorted(others, own, right=True)
        placed[side] = below.double() / (2 * len(others))
    return placed


def area(evidence: Tensor, positive: Tensor) -> float:
    """The AUROC, which is the share of pairs that are ranked rightly; fit for tens of millions of pixels.

    >>> area(torch.tensor([0.1, 0.5, 0.4, 0.9]), torch.tensor([False, False, True, True]))
    0.75

    Args:
        evidence: larger for positive samples, (N,).
        positive: bool (N,).

    Raises:
        ValueError: there is no positive sample, or no negative one.
    """
    check_sides(positive)
    others, own = evidence[~positive].sort().values, evidence[positive]
    below = torch.searchsorted(others, own, right=False) + torch.searchsorted(others, own, right=True)
    return float(below.double().mean()) / (2 * len(others))


def placement_influence(placed: Tensor, positive: Tensor) -> Tensor:
    """Numbers (N,) with the AUROC as mean, whose scatter over samples is the variance of the AUROC.

        A + N / N_side (V_i - A)

    The mean of the placement values themselves scatters too little, for it ignores that a sample also changes the
    placements of the other side: with as many positive as negative samples its deviation would be half of the true one.

    >>> positive = torch.tensor([False, False, True, True])
    >>> placement_influence(placements(torch.tensor([0.1, 0.5, 0.4, 0.9]), positive), positive)
    tensor([1.2500, 0.2500, 0.2500, 1.2500], dtype=torch.float64)

    Args:
        placed: placement values of `placements`.
        positive: bool (N,), True for positive samples.
    """
    check_sides(positive)
    area, number = placed.mean(), len(placed)
    share = torch.where(positive, int(positive.sum()), int((~positive).sum()))
    return area + number / share * (placed - area)


def check_sides(positive: Tensor) -> None:
    """Raise ValueError unless there are samples of both sides."""
    if not bool(positive.any()) or bool(positive.all()):
        which = "negative" if bool(positive.any()) else "positive"
        raise ValueError(f"an AUROC needs positive and negative samples; of {len(positive)} none is {which}")
