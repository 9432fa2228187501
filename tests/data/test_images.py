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


def made(**changed):
    """Three images with masks, groups, a source and regions, or with these changes."""
    parts = {
        "images": IMAGES,
        "labels": torch.tensor([[[0, 1], [1, 0]]] * 3, dtype=torch.uint8),
        "classes": ("background", "cell"),
        "groups": ("a", "b", "a"),
        "sources": {"click": torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2)},
        "regions": torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2),
    }
    return LabelledImages(**(parts | changed))


def test_a_subset_carries_everything() -> None:
    part = made(names=("x", "y", "z")).subset([2, 1])
    assert part.names == ("z", "y")
    assert part.groups == ("a", "b")
    assert part.sources["click"].flatten().tolist() == [8, 9, 10, 11, 4, 5, 6, 7]
    assert part.regions is not None
    assert part.regions.flatten().tolist() == [8, 9, 10, 11, 4, 5, 6, 7]
    assert part.kind == "masks"


def test_labels_of_three_kinds() -> None:
    numbers = made(labels=torch.ones(3, 2), classes=("width", "height"))
    assert (numbers.kind, numbers.subset([0]).labels.tolist()) == ("numbers", [[1.0, 1.0]])
    assert made(labels=LABELS).kind == "classes"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": torch.ones(3, 2)[:2]}, r"float32 of shape \(3, K\) or uint8 of shape \(3, 2, 2\), got float32"),
        ({"labels": torch.ones(3, 2)}, None),
        ({"labels": torch.ones(3, 3)}, "classes must name the 3 numbers of a label"),
        ({"labels": torch.tensor([[1.0, 0], [0, torch.nan], [0, 0]])}, r"labels must be finite, .* for image 1"),
        ({"labels": torch.full((3, 2, 2), 2, dtype=torch.uint8)}, r"labels must lie in \[0, 2\).*\[2, 2\]"),
        ({"labels": torch.zeros(3, 2, 3, dtype=torch.uint8)}, "labels must be int64"),
        ({"groups": ("a",)}, "groups must be as many as the images, 3"),
        ({"names": ("a",)}, "names must be as many as the images, 3"),
        ({"sources": {"click": IMAGES[:2]}}, r"sources\['click'\] must be uint8 or float32 of shape \(3, c, 2, 2\)"),
        ({"sources": {"click": IMAGES.int()}}, r"sources\['click'\] must be uint8 or float32"),
        ({"sources": {"click": IMAGES * torch.nan}}, r"sources\['click'\] must be finite"),
        ({"regions": IMAGES}, r"regions must be uint8 of shape \(3, 2, 2\), got uint8 of shape \(3, 1, 2, 2\)"),
    ],
)
def test_what_does_not_fit_an_image_is_refused(changed, message) -> None:
    if message is None:
        assert len(made(**changed)) == 3
        return
    with pytest.raises(DataError, match=message) as raised:
        made(**changed)
    assert "\n" not in str(raised.value)
