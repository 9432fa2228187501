"""Few images: what follows their number adapts and says so; what is too little is one line."""

import pytest
import torch
from omegaconf import OmegaConf

from dynaxx.data import DataError, LabelledImages, draw
from dynaxx.training.pretrained import _split
from pipelines.common.adapt import adapted, can_be_drawn, folds_for, that_many, validation_images

PARAMS = OmegaConf.create(
    {"task": {"n_val": "auto", "n_train": None, "seeds": [0, 1, 2]}, "tune": {"seed": 100}, "vary": {"seed": 100}}
)


def images(*counts: int) -> LabelledImages:
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    names = tuple("abcdefghij"[: len(counts)])
    return LabelledImages(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), labels, names)


@pytest.mark.parametrize(
    ("counts", "expected"), [((72,) * 10, 100), ((30, 30, 30), 18), ((8, 8, 8), 6), ((4, 4), 4), ((2, 2), 2)]
)
def test_a_fifth_is_validated_on_at_most_100_and_two_a_class_where_possible(counts, expected):
    assert validation_images(PARAMS, images(*counts)) == expected


@pytest.mark.parametrize("counts", [(40, 2), (30, 3, 2), (90, 5, 2, 2), (2, 2, 60)])
def test_rare_classes_are_in_both_parts_of_every_seed(counts):
    data = images(*counts)
    n_val = validation_images(PARAMS, data)
    for seed in (0, 1, 2, 100):
        for part in draw(data.labels, None, n_val, seed):
            assert len(data.labels[part].unique()) == len(counts)


def test_a_number_that_is_given_is_taken():
    assert validation_images(OmegaConf.merge(PARAMS, {"task": {"n_val": 7}}), images(8, 8)) == 7


def test_what_is_too_little_is_one_line_that_names_the_class():
    with pytest.raises(DataError, match="20 images, 1 of class 'b': too few.*pretrain_fraction") as raised:
        validation_images(PARAMS, images(19, 1))
    assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="or a smaller task.n_train"):
        validation_images(OmegaConf.merge(PARAMS, {"task": {"n_train": 20}}), images(10, 10))


def test_folds_and_curves_keep_to_the_images():
    assert [folds_for(5, images(*counts)) for counts in ((9, 9), (9, 3), (9, 1))] == [5, 3, 2]
    with pytest.raises(DataError, match="3 images to train on, one of each class: too few"):
        folds_for(5, images(1, 1, 1))
    data = images(12, 12)
    assert [n for n in (1, 4, 16, 20, 50) if can_be_drawn(data, n, 4, [100])] == [4, 16, 20]
    assert adapted("select.folds", 5, 5, "") == ""
    assert "select.folds=3, not 5" in adapted("select.folds", 5, 3, "the rarest class has 3 images")


def of_kind(kind: str, count: int, groups: int = 0) -> LabelledImages:
    """Images with numbers or masks, in groups of one size where there are any."""
    pixels = torch.zeros(count, 1, 2, 2, dtype=torch.uint8)
    named = tuple(f"group {number * groups // count}" for number in range(count)) if groups else ()
    if kind == "numbers":
        return LabelledImages(pixels, (7.0 * torch.arange(count) % count)[:, None], ("size",), groups=named)
    return LabelledImages(pixels, torch.ones(count, 2, 2, dtype=torch.uint8), ("background", "cell"), groups=named)


@pytest.mark.parametrize("kind", ["numbers", "masks"])
def test_labels_that_are_no_classes_are_drawn_in_any_number(kind):
    data = of_kind(kind, 40)
    assert validation_images(PARAMS, data) == 8
    assert [n for n in (1, 5, 32, 33, 400) if that_many(data, n, 8, 100)] == [1, 5, 32]
    assert folds_for(5, data) == 5
    assert folds_for(5, data.subset(torch.arange(3))) == 3


@pytest.mark.parametrize("kind", ["numbers", "masks"])
def test_a_point_of_a_curve_is_trained_with_as_many_as_it_says_where_groups_are_whole(kind):
    data = of_kind(kind, 40, groups=4)  # ten each, so that at least ten are validated on
    assert can_be_drawn(data, 32, 8, [100])
    assert [n for n in (10, 30, 31, 32) if that_many(data, n, 8, 100)] == [10, 30]


@pytest.mark.parametrize("counts", [(8, 8, 8), (20, 2, 2), (20, 3, 1), (2, 1)])
def test_a_backbone_is_validated_on_what_there_is(counts):
    labels = images(*counts).labels
    validation, training = _split(labels, 0.1, 0)
    assert sorted([*validation.tolist(), *training.tolist()]) == list(range(len(labels)))
    assert len(validation) > 0
    assert len(labels[training].unique()) == len(counts)
    assert set(labels[validation].tolist()) == {label for label, count in enumerate(counts) if count > 1}
