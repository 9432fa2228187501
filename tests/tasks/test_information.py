"""Bits that predictions tell about labels: by hand, by scikit-learn, and never more than there are."""

import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from dynaxx.tasks import Classification, Regression, Segmentation
from dynaxx.tasks.information import bits_of_classes, bits_of_numbers


def test_bits_of_numbers_by_hand():
    target = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
    assert bits_of_numbers(target.mean(0).expand(2, 2), target) == 0.0
    assert bits_of_numbers(-target, target) == 0.0  # worse than the mean
    half = torch.tensor([[0.5, 0.0], [1.5, 9.0]])  # R² = 3/4 in the first column, the second has nothing to tell
    assert bits_of_numbers(half, target) == pytest.approx(1.0)
    both = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    assert bits_of_numbers(both / 2 + 0.5, both) == pytest.approx(2.0)


def test_bits_of_classes_by_hand():
    shares = torch.eye(4)[torch.arange(40) % 4]
    assert bits_of_classes(shares, shares) == pytest.approx(2.0, abs=1e-3)
    assert bits_of_classes(torch.full((40, 4), 0.25), shares) == pytest.approx(0.0, abs=1e-6)
    pairs = shares[:, :2].repeat_interleave(1, 1) + 0.0
    known = torch.stack([pairs.sum(1), pairs.sum(1), 1 - pairs.sum(1), 1 - pairs.sum(1)], dim=1) / 2  # which half
    assert bits_of_classes(known, shares) == pytest.approx(1.0, abs=1e-3)


@given(seed=st.integers(0, 10**6), classes=st.integers(2, 5), signal=st.floats(0, 3))
def test_bits_lie_between_none_and_all(seed, classes, signal):
    generator = torch.Generator().manual_seed(seed)
    shares = torch.eye(classes)[torch.randint(0, classes, (60,), generator=generator)]
    noise = torch.randn(60, classes, generator=generator)
    mean = shares.mean(0)[shares.sum(0) > 0]
    entropy = float(-(mean * mean.log2()).sum())
    assert 0 <= bits_of_classes(signal * shares + noise, shares) <= entropy + 1e-6


@given(seed=st.integers(0, 10**6))
def test_two_classes_are_calibrated_as_by_a_logistic_regression(seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(200) % 4 == 0
    one = 0.3 * y + 0.3 * torch.randn(200, generator=generator)
    shares = torch.stack([~y, y], dim=1).double()
    model = LogisticRegression(C=1e6, max_iter=1000).fit(one[:, None].numpy(), y.numpy())
    entropy = -(0.25 * torch.tensor(0.25).log2() + 0.75 * torch.tensor(0.75).log2())
    wanted = entropy - log_loss(y.numpy(), model.predict_proba(one[:, None].numpy())) / 0.6931471805599453
    assert bits_of_classes(torch.stack([1 - one, one], dim=1), shares) == pytest.approx(float(wanted), abs=1e-4)


def test_each_kind_codes_its_labels_and_scores_its_codes():
    labels = torch.tensor([2, 0, 1])
    coded = Classification().coded(labels, 3)
    assert coded.argmax(1).tolist() == labels.tolist()
    assert Classification().coded_scores(coded, coded).tolist() == [1, 1, 1]
    numbers = torch.tensor([[1.0], [3.0]])
    assert Regression().coded_scores(numbers + 2, Regression().coded(numbers, 1)).tolist() == [4, 4]
    masks = torch.zeros(2, 4, 4, dtype=torch.uint8)
    masks[0, :2, :2] = masks[1, 2:, 2:] = 1
    shares = Segmentation().coded(masks, 1, (2, 2))
    assert shares.shape == (2, 4, 1)
    assert Segmentation().coded_scores(shares, shares).tolist() == [1, 1]
    # what least squares pulls to its mean keeps its order, and so its score
    assert Segmentation().coded_scores(0.1 * shares + 0.1, shares).tolist() == [1, 1]
    wrong = shares.flip(0)
    assert Segmentation().coded_scores(wrong, shares).tolist() == [0, 0]
    several = Segmentation().coded(masks * 2, 3, (2, 2))
    assert several.shape == (2, 4, 3)
    assert Segmentation().coded_scores(several, several).tolist() == [1, 1]
