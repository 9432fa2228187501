"""Crops around objects, each with a click on its object."""

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from dynaxx.data import ClickedMasks, DataError
from dynaxx.data.clicked_masks import RADIUS, crop_around

SIZE = 32


def cells(seed):
    """Four cells of 14 x 14 pixels between membranes, and a speck."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for row in (1, 17):
        for column in (1, 17):
            mask[row : row + 14, column : column + 14] = 255
    mask[15:17, 15:17] = 255  # it touches the cells at corners alone
    return mask, np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)


def slices(count=5):
    pairs = [cells(number) for number in range(count)]
    files = {f"stack/image/{number}.png": image for number, (_, image) in enumerate(pairs)}
    return files | {f"stack/label/{number}.png": mask for number, (mask, _) in enumerate(pairs)}


OPTIONS = {"crop": 16, "crops_per_slice": 6, "train_slices": 3, "test_slices": 2, "min_area": 100}


@pytest.mark.parametrize("packed", [False, True])
def test_slices_are_split_and_each_is_a_group(write, zip_tree, packed):
    root = write(slices(12))
    source = ClickedMasks(zip_tree(root) if packed else root, **OPTIONS)
    train, test = source.train(), source.test()
    assert source.classes() == train.classes == ("background", "object")
    assert train.images.shape == (18, 3, 16, 16)
    assert dict.fromkeys(train.groups) == dict.fromkeys(f"stack/image/{n}.png" for n in (0, 1, 2))
    assert dict.fromkeys(test.groups) == dict.fromkeys(f"stack/image/{n}.png" for n in (10, 11))  # 10 follows 9
    assert train.kind == "masks"
    assert source.copies() == {}


def test_a_click_lies_within_its_object_and_away_from_its_border(write):
    train = ClickedMasks(write(slices()), **OPTIONS).train()
    click, mask = train.sources["click"][:, 0], train.labels
    assert click.unique().tolist() == [0, 1]
    for some, area in zip(click, mask, strict=True):
        assert label(area.numpy())[1] == 1  # in one piece
        rows, columns = some.nonzero(as_tuple=True)
        assert max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) <= 2 * RADIUS
    centres = torch.stack([some.nonzero().double().mean(0).round().long() for some in click])
    inside = [bool(mask[number, row, column]) for number, (row, column) in enumerate(centres.tolist())]
    assert all(inside)


def test_crops_hold_the_pixels_and_the_cell_of_their_slice(write):
    train = ClickedMasks(write(slices()), **OPTIONS).train()
    for number, group in enumerate(train.groups):
        mask, image = cells(int(group[-5]))
        parts, _ = label(mask)
        windows = [
            (top, left)
            for top in range(SIZE - 15)
            for left in range(SIZE - 15)
            if np.array_equal(image[top : top + 16, left : left + 16], train.images[number, 0].numpy())
        ]
        assert len(windows) == 1
        top, left = windows[0]
        seen = parts[top : top + 16, left : left + 16][train.labels[number].numpy() > 0]
        assert len(np.unique(seen)) == 1
        assert (parts == seen[0]).sum() >= 100


def test_the_seed_alone_decides(write):
    root = write(slices())
    first, again, other = (ClickedMasks(root, **OPTIONS, seed=seed).train() for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.sources["click"], again.sources["click"])
    assert not torch.equal(first.sources["click"], other.sources["click"])


def test_a_folder_of_masks_and_another_image_size(write):
    mask, image = cells(0)
    files = {f"{split}/images/a.png": image for split in ("train", "test")}
    root = write(files | {f"{split}/masks/a.png": mask for split in ("train", "test")})
    source = ClickedMasks(root, image_size=24, channels=1, **OPTIONS)
    train = source.train()
    assert train.images.shape == (6, 1, 24, 24)
    assert train.labels.shape == (6, 24, 24)
    assert (train.labels.bool() & train.sources["click"][:, 0].bool()).flatten(1).any(1).all()
    assert source.copies() == {"test/images/a.png": "train/images/a.png"}


def test_an_object_smaller_than_the_pixels_that_are_kept_has_a_click_still():
    area = np.zeros((64, 64), bool)
    area[31, 31] = True
    for seed in range(5):
        sample = crop_around(np.zeros((1, 64, 64), np.uint8), area, 64, 8, np.random.default_rng(seed))
        assert sample.object_HW.sum() == 1
        assert (sample.object_HW & sample.click_HW).sum() == 1


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        ({"stack/label/1.png": None}, {}, "slice 1 is not both in stack/image/ and stack/label/"),
        ({}, {"train_slices": 4}, "holds 5 slices; data.train_slices=4 and data.test_slices=2 are more"),
        ({}, {"crop": 0}, "data.crop=0: give a whole number of at least 8"),
        ({}, {"crops_per_slice": True}, "data.crops_per_slice=True: give a whole number"),
        ({}, {"seed": -1}, "data.seed=-1"),
        ({}, {"crop": 10000}, "data.crop=10000: give at most"),
    ],
)
def test_what_names_and_options_tell_is_told_before_a_file_is_opened(write, files, options, says):
    root = write(slices())
    write(files)
    with pytest.raises(DataError, match=says) as raised:
        ClickedMasks(root, **(OPTIONS | options)).classes()
    assert "\n" not in str(raised.value)


def test_what_is_found_when_masks_are_read(write):
    root = write(slices())
    for options, says in (
        ({"crop": 33}, "stack/image/0.png is 32 x 32 pixels, smaller than a crop; data.crop=33: give at most 32"),
        ({"min_area": 500}, "no train mask holds an object of 500 pixels; give a smaller data.min_area"),
    ):
        with pytest.raises(DataError, match=says):
            ClickedMasks(root, **(OPTIONS | options)).train()


def test_the_real_membrane(shared_data):
    train = ClickedMasks(shared_data / "membrane.zip", crops_per_slice=4, train_slices=3, test_slices=2).train()
    assert train.images.shape == (12, 3, 128, 128)
    assert train.groups[::4] == tuple(f"membrane/image/{number}.png" for number in range(3))
    assert (train.labels.flatten(1).sum(1) > 0).all()
