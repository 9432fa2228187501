"""Similarity of two representations: debiased linear CKA."""

from torch import Tensor


def debiased_cka(x_NF: Tensor, y_NG: Tensor) -> float:
    """Linear CKA with the unbiased HSIC estimator of Song et al. (2012), used for CKA by Nguyen et al. (2021).

    The CKA of representations that are equal up to rotation and scale is 1. The CKA of independent representations of
    any width is about 0, and may be slightly negative. (The plain estimator increases with the width.)

    >>> x_NF = torch.randn(100, 16)
    >>> round(debiased_cka(x_NF, 3 * x_NF), 4)
    1.0

    Args:
        x_NF: F features of N ≥ 4 samples.
        y_NG: G other features of the same samples.

    Raises:
        ValueError: fewer than four samples, or different numbers of samples.
    """
    if len(x_NF) != len(y_NG) or len(x_NF) < 4:
        raise ValueError(f"x_NF, y_NG: {len(x_NF)} and {len(y_NG)} samples; give the same number, four at least")
    K, L = (_gram(z.double()) for z in (x_NF, y_NG))
    scale = (_hsic(K, K) * _hsic(L, L)).clamp_min(0).sqrt()
    return float(_hsic(K, L) / scale) if scale > 0 else 0.0


def _gram(x_NF: Tensor) -> Tensor:
    centred = x_NF - x_NF.mean(0)  # for numerical accuracy only: the estimator is invariant to shifts
    return (centred @ centred.T).fill_diagonal_(0.0)


def _hsic(K: Tensor, L: Tensor) -> Tensor:
    """Unbiased HSIC from Gram matrices whose diagonals are zero, eq. 5 of Song et al. (2012)."""
    n = len(K)
    cross = (K.sum() * L.sum()) / ((n - 1) * (n - 2)) - 2 * (K.sum(0) @ L.sum(0)) / (n - 2)
    return ((K * L).sum() + cross) / (n * (n - 3))
