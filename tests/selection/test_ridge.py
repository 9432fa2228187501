"""Ridge predictions of left-out samples, against scikit-learn's ridge fitted anew without each fold."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.linear_model import Ridge

from dynaxx.selection.folds import canonical_order, fold_numbers
from dynaxx.selection.ridge import OutOfFold
from dynaxx.selection.scores import standard_error


def naive(blocks, y, fold, used, penalty):
    """The formula of the module: standardise, weigh the blocks alike, fit without the fold, predict the fold."""
    parts = []
    for x in blocks:
        fitted = x[used]
        parts.append((x - fitted.mean(0)) / fitted.std(0, correction=0) / (x.shape[1] * len(blocks)) ** 0.5)
    z, predicted = torch.cat(parts, dim=1), torch.empty_like(y)
    for number in fold.unique():
        rest = (fold != number) & used
        model = Ridge(alpha=penalty).fit(z[rest].numpy(), y[rest].numpy())
        predicted[fold == number] = torch.from_numpy(model.predict(z[fold == number].numpy())).reshape(-1, y.shape[1])
    return predicted


@given(
    seed=st.integers(0, 10**6),
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    outputs=st.integers(1, 3),
    penalty=st.sampled_from([0.01, 0.3, 10.0]),
)
def test_equals_a_fit_without_each_fold(seed, widths, outputs, penalty):
    generator = torch.Generator().manual_seed(seed)
    blocks = [torch.randn(30, width, generator=generator, dtype=torch.float64) for width in widths]
    y = torch.randn(30, outputs, generator=generator, dtype=torch.float64)
    fold, every = torch.arange(30) % 4, torch.ones(30, dtype=torch.bool)  # folds of 8 and of 7
    fit = OutOfFold({str(n): x for n, x in enumerate(blocks)}, y, fold, penalties=[penalty])
    wanted = naive(blocks, y, fold, every, penalty)
    names = [str(n) for n in range(len(blocks))]
    for found in (fit(names), fit._by_kernel(names)[0], fit._by_products(names)[0]):
        assert torch.allclose(found, wanted, atol=2e-4)  # features are held in float32


@given(seed=st.integers(0, 10**6))
def test_samples_that_are_not_fitted_are_predicted(seed):
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(40, width, generator=generator, dtype=torch.float64) for width in (50, 2))
    fold, used = torch.arange(40) // 10, torch.arange(40) % 2 == 0
    found = OutOfFold({"x": x}, y, fold, used, penalties=[0.1])(["x"])
    assert torch.allclose(found, naive([x], y, fold, used, 0.1), atol=2e-4)


def test_the_penalty_of_least_error_is_taken():
    x, y = torch.randn(60, 20, generator=torch.Generator().manual_seed(0)), torch.randn(60, 1)
    errors = {
        p: (OutOfFold({"x": x}, y, torch.arange(60) % 5, penalties=[p])(["x"]) - y).square().mean()
        for p in (0.01, 100.0)
    }
    both = OutOfFold({"x": x}, y, torch.arange(60) % 5, penalties=[0.01, 100.0])(["x"])
    assert (both - y).square().mean() == min(errors.values())


def test_a_constant_feature_changes_nothing():
    x, y = torch.randn(30, 4), torch.randn(30, 1)
    constant = torch.cat([x, torch.full((30, 4), 7.0)], dim=1)
    fold = torch.arange(30) % 3
    found = OutOfFold({"x": constant}, y, fold, penalties=[0.5])(["x"])
    # half of the columns are 0, so the others weigh half: as with twice the penalty
    assert torch.allclose(found, OutOfFold({"x": x}, y, fold, penalties=[1.0])(["x"]), atol=1e-4)


@given(seed=st.integers(0, 10**6), classes=st.booleans(), count=st.integers(8, 40))
def test_no_group_lies_in_two_folds(seed, classes, count):
    random = np.random.default_rng(seed)
    groups = (*(f"g{number}" for number in random.integers(0, 6, 5 * count)), "a", "b", "c")
    strata = torch.arange(len(groups)) % 2 if classes else None
    fold = fold_numbers(len(groups), strata, groups, folds=3, seed=seed)
    for group in set(groups):
        assert len({int(fold[n]) for n, name in enumerate(groups) if name == group}) == 1
    assert sorted(fold.unique().tolist()) == [0, 1, 2]


def test_folds_have_their_share_of_each_class():
    strata = torch.tensor([0] * 30 + [1] * 6)
    fold = fold_numbers(36, strata, (), folds=3, seed=0)
    assert [int((strata[fold == number] == 1).sum()) for number in range(3)] == [2, 2, 2]


def test_the_error_of_groups_is_that_of_their_sums():
    difference = np.random.default_rng(0).normal(size=40)
    assert standard_error(difference, ()) == pytest.approx(difference.std(ddof=1) / 40**0.5)
    groups = tuple(str(number // 4) for number in range(40))
    means = difference.reshape(10, 4).mean(1)
    assert standard_error(difference, groups) == pytest.approx(means.std(ddof=1) / 10**0.5)
    repeated = np.repeat(means, 4)  # four copies of each tell no more than one
    assert standard_error(repeated, groups) == pytest.approx(standard_error(means, ()))


def test_the_canonical_order_is_that_of_the_content():
    from support.selection_nets import images

    data = images(20)
    order = torch.randperm(20)
    first, second = data.subset(canonical_order(data)), data.subset(order)
    assert torch.equal(second.subset(canonical_order(second)).images, first.images)
