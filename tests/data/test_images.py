import pytest
import torch

from dynaxx.data import DataError, LabelledImages

IMAGES = torch.arange(3 * 1 * 2 * 2, dtype=torch.uint8).reshape(3, 1, 2, 2)
LABELS = torch.tensor([0, 1, 0])


def test_subset_takes_the_chosen_in_their_order() -> None:
    part = LabelledImages(IMAGES, LABELS, ("a", "b")).subset([2, 1, 1])
    assert len(part) == 3
    assert torch.equal(part.images, torch.stack([IMAGES[2], IMAGES[1], IMAGES[1]]))
    assert part.labels.tolist() == [0, 1, 1]
    assert part.classes == ("a", "b")


def test_subset_is_a_copy() -> None:
    data = LabelledImages(IMAGES.clone(), LABELS, ("a", "b"))
    data.subset([0]).images.zero_().sub_(1)
    assert torch.equal(data.images, IMAGES)


def test_an_empty_subset_is_allowed() -> None:
    assert len(LabelledImages(IMAGES, LABELS, ("a", "b")).subset([])) == 0


@pytest.mark.parametrize("index", [[3], [-1], [[0]]])
def test_subset_refuses_what_is_no_image_number(index: list) -> None:
    with pytest.raises(DataError, match="image numbers in \\[0, 3\\)"):
        LabelledImages(IMAGES, LABELS, ("a", "b")).subset(index)


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (IMAGES.float(), LABELS, ("a", "b"), "images must be uint8"),
        (IMAGES[:, 0], LABELS, ("a", "b"), "images must be uint8"),
        (IMAGES[..., :0], LABELS, ("a", "b"), "images must be uint8"),
        (IMAGES, LABELS.int(), ("a", "b"), "labels must be int64"),
        (IMAGES, LABELS[:2], ("a", "b"), "labels must be int64"),
        (IMAGES, LABELS, (), "classes must be distinct"),
        (IMAGES, LABELS, ("a", "a"), "classes must be distinct"),
        (IMAGES, LABELS, ("a",), "labels must lie in \\[0, 1\\)"),
        (IMAGES, LABELS - 1, ("a", "b"), "labels must lie in \\[0, 2\\)"),
    ],
)
def test_what_does_not_fit_is_refused(images, labels, classes, message) -> None:
    with pytest.raises(DataError, match=message):
        LabelledImages(images, labels, classes)
