"""Images with masks, paired by their stems."""

import numpy as np
import pytest
import torch
from PIL import Image

from dynaxx.data import DataError, ImageMasks

RANDOM = np.random.default_rng(0)


def image(height=8, width=8):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def mask(*values, height=8, width=8):
    return RANDOM.choice(np.array(values, dtype=np.uint8), (height, width))


def tree(*values, **size):
    files = {}
    for split, count in (("train", 3), ("test", 2)):
        for number in range(count):
            files[f"{split}/images/{number}.jpg"] = image(**size)
            files[f"{split}/masks/{number}.png"] = mask(*values, **size)
    return files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0,)])
def test_masks_of_two_classes(write, zip_tree, packed, values):
    files = tree(*values)
    root = write({f"pack/{name}": content for name, content in files.items()} | {"pack/train/images/notes.txt": "x"})
    source = ImageMasks(zip_tree(root) if packed else root)
    train = source.train()
    assert source.classes() == train.classes == ("background", "foreground")
    assert train.names[0] == "pack/train/images/0.jpg"
    for number in range(3):
        assert np.array_equal(train.labels[number].numpy(), files[f"train/masks/{number}.png"] > 0)
    assert len(source.test()) == 2
    assert source.skipped == {"pack/train/images/notes.txt": "of suffix .txt"}


def test_masks_of_more_classes_and_of_other_values(write):
    root = write(tree(0, 1, 2))
    source = ImageMasks(root, mask_classes=["none", "cat", "dog"])
    assert source.classes() == ("none", "cat", "dog")
    with Image.open(root / "train/masks/1.png") as stored:
        assert np.array_equal(source.train().labels[1].numpy(), np.asarray(stored))
    root = write(tree(7, 100, 200), "other")
    train = ImageMasks(root, mask_classes=["none", "cat", "dog"], mask_values=[100, 7, 200]).train()
    with Image.open(root / "train/masks/1.png") as stored:
        values = np.asarray(stored)
    assert np.array_equal(train.labels[1].numpy(), np.select([values == 7, values == 200], [1, 2], 0))


def test_a_mask_follows_its_image_when_it_is_cut_and_made_smaller(write):
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 15:20] = 255
    files = {f"{split}/images/a.png": picture for split in ("train", "test")}
    files |= {f"{split}/masks/a.png": picture[..., 0] for split in ("train", "test")}
    train = ImageMasks(write(files), image_size=4).train()
    assert torch.equal(train.images[0, 0] > 127, train.labels[0] > 0)
    assert train.labels[0].tolist() == [[0, 0, 1, 1]] * 4


def test_masks_of_bits_palettes_and_equal_colours(write):
    files = tree(0, 255)
    root = write(files)
    wanted = ImageMasks(root).train().labels
    grey = Image.fromarray(files["train/masks/0.png"])
    grey.convert("1").save(root / "train/masks/0.png")
    grey = Image.fromarray(files["train/masks/1.png"])
    grey.convert("RGB").save(root / "train/masks/1.png")
    palette = Image.fromarray(files["train/masks/2.png"] // 255, mode="L").convert("P")
    palette.putpalette([0, 0, 0, 90, 10, 10])
    palette.save(root / "train/masks/2.png")
    assert torch.equal(ImageMasks(root).train().labels, wanted)


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        ({"train/masks/1.png": None}, {}, r"train/images/1.jpg: there is no mask; give train/masks/1.png"),
        ({"test/images/1.jpg": None}, {}, r"test/masks/1.png: there is no image to this mask"),
        (
            {"train/images/1.png": image()},
            {},
            "train/images/1.jpg and train/images/1.png differ in nothing but the suf",
        ),
        ({"test/images/0.jpg": None, "test/images/1.jpg": None}, {}, "test/images/ holds no images"),
        ({}, {"mask_classes": ["cell"]}, r"data.mask_classes=\['cell'\]: give two or more names"),
        ({}, {"mask_values": [0, 1, 2]}, r"data.mask_values=\[0, 1, 2\]: give a value .* for each of background, fore"),
        ({}, {"mask_values": [0, 0]}, r"data.mask_values=\[0, 0\]"),
        ({}, {"mask_values": [0, 256]}, r"data.mask_values=\[0, 256\]"),
    ],
)
def test_what_names_and_options_tell_is_told_before_a_file_is_opened(write, files, options, says):
    root = write(tree(0, 255))
    write(files)
    with pytest.raises(DataError, match=says) as raised:
        ImageMasks(root, **options).classes()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "options", "says"),
    [
        (mask(0, 255, height=9), {}, r"train/masks/1.png is 8 x 9 but train/images/1.jpg is 8 x 8 pixels"),
        (mask(0, 7, 255), {}, "train/masks/1.png: has the value 7, which .* 0 and 255, or 0 and 1; for others give"),
        (mask(0, 1, 255), {}, "train/masks/1.png: has the value 1, which"),
        (mask(5), {"mask_classes": ["a", "b", "c"]}, "has the value 5, .* masks have 0 to 2"),
        (mask(5), {"mask_values": [0, 9]}, "has the value 5, .* masks have 0, 9"),
        (image(), {}, "train/masks/1.png: the mask is in colours"),
        (np.full((8, 8), 300, np.uint16), {}, "train/masks/1.png: the mask has values from 300 to 300"),
    ],
)
@pytest.mark.parametrize("on_unreadable", ["error", "skip"])
def test_a_mask_that_does_not_fit_is_never_skipped(write, changed, options, says, on_unreadable):
    root = write(tree(0))
    write({"train/masks/1.png": changed})
    with pytest.raises(DataError, match=says) as raised:
        ImageMasks(root, on_unreadable=on_unreadable, image_size=4, **options).train()
    assert "\n" not in str(raised.value)


def test_an_unreadable_mask_leaves_its_image_out(write):
    root = write(tree(0, 255) | {"train/masks/1.png": b"no image"})
    with pytest.raises(DataError, match="cannot read train/images/1.jpg: .*data.on_unreadable=skip"):
        ImageMasks(root).train()
    source = ImageMasks(root, on_unreadable="skip")
    assert source.train().names == ("train/images/0.jpg", "train/images/2.jpg")
    source.copies()
    assert list(source.skipped) == ["train/images/1.jpg"]


def test_another_layout(write):
    with pytest.raises(DataError, match="no train/images/; there is val/; the layout is train/images/, train/masks/"):
        ImageMasks(write({"val/a.png": image()})).classes()
    with pytest.raises(DataError, match="several folders hold train/images/: one/, two/"):
        ImageMasks(write({f"{name}/train/images/a.png": image() for name in ("one", "two")}, "both")).classes()


def test_the_real_polyps(shared_data):
    source = ImageMasks(shared_data / "kvasir_seg.zip", image_size=16)
    assert source.classes() == ("background", "foreground")
    test = source.test()
    assert (len(test), test.labels.shape[1:]) == (120, (16, 16))
    assert test.labels.flatten(1).any(1).all()
    assert source.copies() == {}
