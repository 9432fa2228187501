"""What is prepared of labels that are no classes, of groups, of sources and of regions."""

from dataclasses import replace

import pytest
import torch

from dynaxx.data import DataError, LabelledImages, load_prepared, prepare

N = 6
IMAGES = torch.randint(256, (N, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NUMBERS = LabelledImages(IMAGES, torch.arange(2.0 * N).reshape(N, 2), ("width", "height"), groups=tuple("abcabc"))
MASKS = LabelledImages(
    IMAGES,
    IMAGES[:, 0] // 128,
    ("background", "cell"),
    sources={"click": IMAGES[:, 1:], "depth": torch.rand(N, 1, 8, 8)},
)
GOOD = LabelledImages(IMAGES, torch.zeros(N).long(), ("good", "crack"), regions=IMAGES[:, 0] // 200)


class Given:
    """A source of these images."""

    def __init__(self, images):
        self.images = images

    def train(self):
        return self.images

    test = train

    def classes(self):
        return self.images.classes


def prepared(images, out, **options):
    prepare(Given(images), out, **({"pretrain_fraction": 0.0, "groups": None, "split_seed": 0} | options))
    return load_prepared(out)


@pytest.mark.parametrize("images", [NUMBERS, MASKS, GOOD], ids=["numbers", "masks", "good"])
def test_everything_comes_back(images, tmp_path):
    found = prepared(images, tmp_path / "out")
    task = found.task()
    assert torch.equal(task.images, images.images)
    assert torch.equal(task.labels, images.labels)
    assert (task.classes, task.kind, task.groups) == (images.classes, images.kind, images.groups)
    assert task.sources.keys() == images.sources.keys()
    assert all(torch.equal(task.sources[name], images.sources[name]) for name in images.sources)
    assert task.regions is None if images.regions is None else torch.equal(task.regions, images.regions)
    assert found.manifest.kind == images.kind
    assert found.manifest.counts == ({"good": N, "crack": 0} if images is GOOD else {})
    found.manifest.check(images)


def test_the_fingerprint_knows_every_part(tmp_path):
    other = torch.rand(N, 1, 8, 8)
    changed = [
        NUMBERS,
        replace(NUMBERS, labels=NUMBERS.labels + 1),
        replace(NUMBERS, groups=tuple("aabbcc")),
        replace(NUMBERS, groups=()),
        replace(NUMBERS, sources={"click": IMAGES}),
        replace(NUMBERS, sources={"tick": IMAGES}),
        replace(NUMBERS, sources={"click": other}),
        replace(NUMBERS, regions=IMAGES[:, 0]),
    ]
    prints = [prepared(images, tmp_path / str(number)).fingerprint() for number, images in enumerate(changed)]
    assert len(set(prints)) == len(prints)
    assert prepared(NUMBERS, tmp_path / "again").fingerprint() == prints[0]


@pytest.mark.parametrize(
    ("images", "options", "says"),
    [
        (NUMBERS, {"pretrain_fraction": 0.5}, "data.pretrain_fraction=0.5: the labels are numbers, on which no back"),
        (GOOD, {"pretrain_fraction": 0.5}, "data.pretrain_fraction=0.5: the training images are all good"),
        (MASKS, {"groups": {"a": ["background"], "b": ["cell"]}}, "data.groups: the labels are masks; give null"),
        (MASKS.subset([0]), {}, "there is 1 training image; give two or more"),
        (GOOD.subset([0]), {}, "there is 1 training image; give two or more"),
    ],
)
def test_what_cannot_be_prepared(images, options, says, tmp_path):
    with pytest.raises(DataError, match=says):
        prepared(images, tmp_path / "out", **options)


def test_test_images_of_another_kind_are_refused(tmp_path):
    manifest = prepared(MASKS, tmp_path / "out").manifest
    with pytest.raises(DataError, match="labels that are classes differ from the prepared masks"):
        manifest.check(replace(MASKS, labels=torch.zeros(N).long()))


def test_the_same_pixels_with_another_mask_or_number_are_told(tmp_path):
    twice = torch.cat([IMAGES[:1], IMAGES[:1], IMAGES[1:3]])
    numbers = LabelledImages(twice, torch.tensor([[1.0], [2.0], [1.0], [2.0]]), ("size",), names=tuple("wxyz"))
    masks = LabelledImages(twice, torch.arange(4).byte()[:, None, None].expand(4, 8, 8) // 2, ("a", "b"))
    other = replace(masks, labels=masks.labels.flip(0).roll(1, 0))
    clicks = replace(numbers, sources={"click": torch.arange(4.0)[:, None, None, None].expand(4, 1, 8, 8)})
    assert prepared(numbers, tmp_path / "numbers").manifest.contradictions == (("w", "x"),)
    assert prepared(masks, tmp_path / "masks").manifest.contradictions == ()
    assert prepared(other, tmp_path / "other").manifest.contradictions == (("image 0", "image 1"),)
    assert prepared(clicks, tmp_path / "clicks").manifest.contradictions == ()
