"""Debiased CKA against its definition summed index by index, and its known values."""

import itertools

import pytest
import torch
from hypothesis import given, strategies as st

from dynaxx.selection import debiased_cka


def naive_hsic(K, L) -> float:
    """The U-statistic over all ordered quadruples of distinct samples (Song et al. 2012, eq. 4)."""
    n, total, count = len(K), 0.0, 0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += float(K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]))
        count += 1
    return total / count


@given(seed=st.integers(0, 10**6), n=st.integers(4, 7))
def test_equals_the_u_statistic(seed, n):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, f, generator=generator, dtype=torch.float64) for f in (3, 2))
    K, L = x @ x.T, y @ y.T
    scale = naive_hsic(K, K) * naive_hsic(L, L)
    if scale > 1e-6:
        assert debiased_cka(x, y) == pytest.approx(naive_hsic(K, L) / scale**0.5, abs=1e-6)


def test_known_values():
    x = torch.randn(200, 10)
    rotation = torch.linalg.qr(torch.randn(10, 10)).Q
    assert debiased_cka(x, 3 * x @ rotation + 5) == pytest.approx(1.0, abs=1e-5)
    wide = [debiased_cka(torch.randn(100, 500), torch.randn(100, 500)) for _ in range(5)]
    assert abs(sum(wide) / 5) < 0.05  # the plain estimator would say about 0.8
    assert debiased_cka(x, torch.ones(200, 3)) == 0.0


def test_too_few_or_unequal_samples():
    with pytest.raises(ValueError, match="3 and 3 samples"):
        debiased_cka(torch.randn(3, 2), torch.randn(3, 2))
    with pytest.raises(ValueError, match="5 and 4 samples"):
        debiased_cka(torch.randn(5, 2), torch.randn(4, 2))
