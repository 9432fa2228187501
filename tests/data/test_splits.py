import pytest
import torch
from hypothesis import given, settings, strategies as st

from dynaxx.data import DataError, draw, split_each_class, stratified_halves

POOLS = st.lists(st.integers(20, 60), min_size=2, max_size=5).map(
    lambda counts: torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
)


def assert_proportional(labels: torch.Tensor, index: torch.Tensor) -> None:
    """Each class has its share of the part, to within the one image that whole numbers need."""
    share = labels.bincount().double() * len(index) / len(labels)
    assert ((labels[index].bincount(minlength=len(share)) - share).abs() <= 1 + 1e-9).all()


def assert_sorted_and_distinct(index: torch.Tensor) -> None:
    assert index.dtype == torch.int64
    assert (index.diff() > 0).all()


@settings(deadline=None, max_examples=60)
@given(POOLS, st.floats(0.2, 0.8), st.integers(0, 2**32 - 1), st.randoms())
def test_halves(labels: torch.Tensor, fraction: float, seed: int, random) -> None:
    order = list(range(len(labels)))
    random.shuffle(order)
    labels = labels[order]
    first, second = stratified_halves(labels, fraction, seed)
    assert_sorted_and_distinct(first)
    assert_sorted_and_distinct(second)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(len(labels)))
    assert len(first) == round(fraction * len(labels))
    assert_proportional(labels, first)
    again = stratified_halves(labels, fraction, seed)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])


@settings(deadline=None, max_examples=60)
@given(POOLS, st.data(), st.integers(0, 2**32 - 1))
def test_draw(labels: torch.Tensor, data: st.DataObject, seed: int) -> None:
    n_val = data.draw(st.integers(15, len(labels) // 2 - 1))
    n_train = data.draw(st.integers(15, len(labels) // 2 - 1) | st.none())
    train, val = draw(labels, n_train, n_val, seed)
    assert_sorted_and_distinct(train)
    assert_sorted_and_distinct(val)
    assert not set(train.tolist()) & set(val.tolist())
    assert len(val) == n_val
    assert len(train) == (len(labels) - n_val if n_train is None else n_train)
    assert_proportional(labels, train)


@settings(deadline=None, max_examples=60)
@given(POOLS, st.floats(1.0, 50.0), st.integers(0, 2**32 - 1))
def test_a_long_tail_thins_the_training_part_alone(labels: torch.Tensor, imbalance: float, seed: int) -> None:
    full, val = draw(labels, None, 15, seed)
    thin, same = draw(labels, None, 15, seed, imbalance)
    assert torch.equal(val, same)
    assert_sorted_and_distinct(thin)
    assert set(thin.tolist()) <= set(full.tolist())
    before, after = labels[full].bincount().tolist(), labels[thin].bincount().tolist()
    assert after[0] == before[0]
    assert after[-1] == max(1, round(before[-1] / imbalance))
    shares = [a / b for a, b in zip(after, before, strict=True)]
    for share, following, count in zip(shares, shares[1:], before[1:], strict=False):
        assert following <= share + 1 / count  # falls from class to class, to within one image
    assert torch.equal(thin, draw(labels, None, 15, seed, imbalance)[0])


def test_a_long_tail_of_a_hundred_is_the_published_profile() -> None:
    labels = torch.arange(10).repeat(1010)
    train, _ = draw(labels, 10_000, 100, 0, 100.0)
    assert labels[train].bincount().tolist() == [round(1000 * 100 ** (-k / 9)) for k in range(10)]


def test_the_rarest_class_of_the_longest_tail_keeps_an_image() -> None:
    labels = torch.arange(4).repeat(25)
    train, _ = draw(labels, 80, 20, 0, 1e6)
    assert labels[train].bincount().tolist() == [20, 1, 1, 1]


@pytest.mark.parametrize("imbalance", [0.99, -1.0, float("nan"), float("inf")])
def test_an_imbalance_that_is_none_is_refused(imbalance: float) -> None:
    with pytest.raises(DataError, match="imbalance must be a number of at least 1, got"):
        draw(torch.arange(100) % 4, None, 20, 0, imbalance)


def test_seeds_differ() -> None:
    labels = torch.arange(100) % 4
    assert not torch.equal(draw(labels, None, 20, 0)[1], draw(labels, None, 20, 1)[1])
    assert not torch.equal(stratified_halves(labels, 0.5, 0)[0], stratified_halves(labels, 0.5, 1)[0])


def test_a_fraction_of_0_leaves_all_to_the_second() -> None:
    first, second = stratified_halves(torch.tensor([0, 1, 1]), 0, 0)
    assert len(first) == 0
    assert second.tolist() == [0, 1, 2]


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(DataError, match="fraction must lie in"):
        stratified_halves(torch.arange(10) % 2, fraction, 0)


@pytest.mark.parametrize(
    ("counts", "fraction", "leave", "first"),
    [
        ((40, 4, 3), 0.5, 2, (20, 2, 1)),
        ((20, 2, 1), 0.1, 1, (2, 1, 0)),
        ((500, 1), 0.1, 0, (50, 1)),
        ((8, 8), 0.999, 2, (6, 6)),
    ],
)
def test_classes_too_rare_for_their_share_are_split_by_themselves(counts, fraction, leave, first) -> None:
    labels = torch.cat([torch.full((n,), label) for label, n in enumerate(counts)])
    for seed in range(3):
        one, two = split_each_class(labels, fraction, seed, leave)
        assert labels[one].bincount(minlength=len(counts)).tolist() == list(first)
        assert sorted([*one.tolist(), *two.tolist()]) == list(range(len(labels)))
        assert_sorted_and_distinct(one)
        assert_sorted_and_distinct(two)


def test_large_classes_are_split_as_halves_are() -> None:
    labels = torch.arange(90) % 3
    for one, two in zip(split_each_class(labels, 0.3, 4, leave=2), stratified_halves(labels, 0.3, 4), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range(seed: int) -> None:
    with pytest.raises(DataError, match="seed must lie in"):
        draw(torch.arange(10) % 2, 4, 4, seed)


LABELS = torch.tensor([0] * 20 + [1] * 20)


@pytest.mark.parametrize(
    ("labels", "n_train", "n_val", "message"),
    [
        (LABELS, 35, 10, "pool is too small for 35 training and 10 validation images out of 40"),
        (LABELS, None, 41, "-1 training and 41 validation.*one image of each of 2 classes"),
        (LABELS, 0, 10, "0 training and 10 validation.*one image of each of 2 classes"),
        (LABELS, None, 1, "39 training and 1 validation.*one image of each of 2 classes"),
        (LABELS[:0], None, 0, "0 training and 0 validation"),
        (torch.tensor([0] * 20 + [5]), 10, 5, "class 5 has 1 image, at least 2"),
        (
            torch.tensor([0] * 90 + [1] * 90 + [7] * 2),
            100,
            5,
            "class 7 has 2 images, too few for one validation",
        ),
    ],
)
def test_too_few_images(labels: torch.Tensor, n_train: int | None, n_val: int, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        draw(labels, n_train, n_val, 0)
    assert "\n" not in str(caught.value)
