"""What predictions of unseen samples tell about the labels, in bits: lower bounds of the mutual information.

Shape legend: N samples or positions, K columns.
"""

import torch
from torch import Tensor

STEPS = 50
"""Largest number of Newton steps of the calibration, which converges in a handful."""


def bits_of_numbers(predicted: Tensor, target: Tensor) -> float:
    """Sum over the columns of -1/2 log2(1 - R²), each at least 0: the bits of a Gaussian channel with this error.

    >>> target = torch.tensor([[0.0], [2.0]])
    >>> bits_of_numbers(torch.tensor([[0.5], [1.5]]), target)
    1.0

    Args:
        predicted, target: numbers (N, K). A constant column of targets has nothing to tell.
    """
    target = target.double()
    error = (predicted.double() - target).square().mean(0)
    spread = (target - target.mean(0)).square().mean(0)
    left = torch.where(spread > 0, error / spread.clamp_min(1e-300), 1.0).clamp(2.0**-40, 1.0)
    return float((-0.5 * left.log2()).sum())


def bits_of_classes(predicted: Tensor, shares: Tensor) -> float:
    """H(Y) - CE: the entropy of the mean label minus the cross-entropy of calibrated predictions; at least 0.

        p = softmax(a · predicted + b · log mean label)

    Two numbers, a and b, make probabilities of least-squares predictions. They are fitted to the same predictions.

    >>> round(bits_of_classes(torch.eye(2)[[0, 1] * 50], torch.eye(2)[[0, 1] * 50]), 3)
    1.0

    Args:
        predicted: least-squares predictions of `shares`, (N, K).
        shares: share of each class, (N, K), 1 in sum; one-hot where a label is one class.
    """
    predicted, shares = predicted.double(), shares.double()
    present = shares.sum(0) > 0
    predicted, shares = predicted[:, present], shares[:, present]
    mean = shares.mean(0)
    entropy = -(mean * mean.log2()).sum()
    basis = torch.stack([predicted, mean.log().expand_as(predicted)])  # (2, N, K)
    at = torch.tensor([0.0, 1.0], dtype=torch.float64)  # the mean label alone, which tells nothing
    value = _cross_entropy(at, basis, shares)
    for _ in range(STEPS):
        p = torch.einsum("j,jnk->nk", at, basis).softmax(1)
        gradient = torch.einsum("jnk,nk->j", basis, p - shares) / len(p)
        mid = torch.einsum("jnk,nk->jn", basis, p)
        curvature = (torch.einsum("ink,nk,jnk->ij", basis, p, basis) - mid @ mid.T) / len(p)
        step = torch.linalg.solve(curvature + 1e-9 * torch.eye(2, dtype=torch.float64), gradient)
        # halved until it helps; predictions without an error have no finite optimum, and their step ends here
        while (new := _cross_entropy(at - step, basis, shares)) > value and step.abs().max() > 1e-9:
            step = step / 2
        if value - new < 1e-9:
            break
        at, value = at - step, new
    return max(0.0, float(entropy - value / torch.log(torch.tensor(2.0))))


def _cross_entropy(at: Tensor, basis: Tensor, shares: Tensor) -> Tensor:
    return -(shares * torch.einsum("j,jnk->nk", at, basis).log_softmax(1)).sum(1).mean()
