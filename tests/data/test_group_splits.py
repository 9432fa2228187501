"""Splits of images in groups: no group is on both sides, and the sizes are the nearest that groups allow."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from dynaxx.data import DataError, LabelledImages, draw, draw_images
from dynaxx.data.group_splits import EXACT, nearest

SIZES = st.lists(st.integers(1, 9), min_size=2, max_size=8)


def grouped(sizes, random):
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    random.shuffle(groups)
    return groups


@given(SIZES, st.integers(1, 60))
def test_the_nearest_sum_against_all_sums(sizes, target):
    chosen = nearest(sizes, target)
    assert len(set(chosen)) == len(chosen)
    parts = (part for count in range(1, len(sizes)) for part in combinations(range(len(sizes)), count))
    sums = [sum(sizes[i] for i in part) for part in parts]
    assert abs(sum(sizes[i] for i in chosen) - target) == min(abs(s - target) for s in sums)


def test_the_nearest_sum_of_very_many_sizes():
    sizes = [1 + number % 7 for number in range(3 * EXACT)]
    for target in (5, 700, 3000):
        chosen = nearest(sizes, target)
        assert sum(sizes[i] for i in chosen) == target
        assert len(set(chosen)) == len(chosen)


@settings(deadline=None)
@given(SIZES, st.data(), st.randoms(), st.integers(0, 2**32 - 1))
def test_no_group_is_on_both_sides(sizes, data, random, seed):
    groups = grouped(sizes, random)
    count = len(groups)
    n_val = data.draw(st.integers(1, count - 1))
    n_train = data.draw(st.integers(1, count - n_val) | st.none())
    labels = torch.rand(count, 1)
    labels = data.draw(
        st.sampled_from([labels, torch.zeros(count, 2, 2, dtype=torch.uint8), torch.zeros(count).long()])
    )
    train, val = draw(labels, n_train, n_val, seed, groups=groups)
    again = draw(labels, n_train, n_val, seed, groups=groups)
    assert torch.equal(train, again[0])
    assert torch.equal(val, again[1])
    assert (train.diff() > 0).all()
    assert (val.diff() > 0).all()
    assert not {groups[i] for i in train.tolist()} & {groups[i] for i in val.tolist()}
    left = sum(groups[i] not in {groups[j] for j in val.tolist()} for i in range(count))
    assert len(train) == min(left, count if n_train is None else n_train) if n_train else left
    # whole groups are validated on
    assert len(val) == sum(groups.count(g) for g in {groups[i] for i in val.tolist()})
    if labels.ndim != 2:  # one stratum: no other choice of groups is nearer
        sums = [
            sum(sizes[i] for i in part) for k in range(1, len(sizes)) for part in combinations(range(len(sizes)), k)
        ]
        assert abs(len(val) - n_val) == min(abs(s - n_val) for s in sums)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), min_size=4, max_size=9), min_size=2, max_size=4), st.integers(0, 99))
def test_each_class_gives_its_share(classes, seed):
    labels = torch.tensor([label for label, sizes in enumerate(classes) for size in sizes for _ in range(size)])
    groups = [
        f"{label}-{k}" for label, sizes in enumerate(classes) for k, size in enumerate(sizes) for _ in range(size)
    ]
    n_val = len(labels) // 3
    train, val = draw(labels, None, n_val, seed, groups=groups)
    assert len(train) + len(val) == len(labels)
    for label, sizes in enumerate(classes):
        share = n_val * sum(sizes) / len(labels)
        assert abs(int((labels[val] == label).sum()) - share) <= 2 * 5  # at most two groups off
        assert (labels[train] == label).any()
        assert (labels[val] == label).any()


def test_seeds_draw_other_groups():
    groups = [f"g{i // 3}" for i in range(60)]
    drawn = {tuple(draw(torch.rand(60, 1), None, 12, seed, groups=groups)[1].tolist()) for seed in range(8)}
    assert len(drawn) == 8


@pytest.mark.parametrize(
    ("labels", "groups", "n_val", "says"),
    [
        (torch.zeros(4, 1), "aaaa", 2, "all images are of one group, 'a'"),
        (torch.zeros(4, 1), "aabb", 5, "out of 4 in groups: give at least one to each"),
        (torch.tensor([0, 0, 0, 0, 1, 1]), "aabbcc", 2, "class 1 has no validation image, as groups are kept whole"),
    ],
)
def test_what_groups_do_not_allow(labels, groups, n_val, says):
    with pytest.raises(DataError, match=says):
        draw(labels, None, n_val, 0, groups=list(groups))


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 80), st.integers(5, 15), st.integers(0, 2**32 - 1))
def test_numbers_keep_their_quantiles(count, n_val, seed):
    labels = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    train, val = draw(labels, None, n_val, seed)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(count))
    assert len(val) == n_val
    half = labels[:, 0].median()
    below = (labels[val, 0] <= half).double().mean()
    assert abs(below - 0.5) <= 2 / n_val + 1 / count


def test_masks_are_drawn_plainly():
    train, val = draw(torch.zeros(10, 4, 4, dtype=torch.uint8), 6, 3, 1)
    assert len(train) == 6
    assert len(val) == 3
    assert not set(train.tolist()) & set(val.tolist())


LABELS = torch.arange(3).repeat(40)
IMAGES = LabelledImages(torch.zeros(120, 1, 2, 2, dtype=torch.uint8), LABELS, ("sea", "river", "wood"))


def test_a_class_is_made_rare_in_training_alone():
    full, val = draw_images(IMAGES, None, 30, 0)
    thin, same = draw_images(IMAGES, None, 30, 0, rare={"river": 0.1})
    assert torch.equal(val, same)
    assert set(thin.tolist()) <= set(full.tolist())
    assert LABELS[full].bincount().tolist() == [30, 30, 30]
    assert LABELS[thin].bincount().tolist() == [30, 3, 30]
    least, _ = draw_images(IMAGES, None, 30, 0, rare={"river": 1e-9, "sea": 1})
    assert LABELS[least].bincount().tolist() == [30, 1, 30]


def test_what_cannot_be_made_rare():
    with pytest.raises(DataError, match="task.rare names 'lake', which is no class; classes: sea, river, wood"):
        draw_images(IMAGES, None, 30, 0, rare={"lake": 0.1})
    for share in (0, 1.5, float("nan")):
        with pytest.raises(DataError, match=r"the share of class 1 must lie in \(0, 1\]"):
            draw_images(IMAGES, None, 30, 0, rare={"river": share})
    masks = torch.zeros(8, 2, 2, dtype=torch.uint8)
    for options in ({"rare": {0: 0.5}}, {"imbalance": 5.0}):
        with pytest.raises(DataError, match="the labels are no classes"):
            draw(masks, None, 2, 0, **options)
    with pytest.raises(DataError, match="which is no class; classes: none, the labels are masks"):
        draw_images(LabelledImages(IMAGES.images[:8], masks, ("a", "b")), None, 2, 0, rare={"a": 0.5})
