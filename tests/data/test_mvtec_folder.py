"""The layout of MVTec AD: good images to train on, good and defective ones to test on."""

import numpy as np
import pytest

from dynaxx.data import DataError, MvtecFolder


def grey(value, height=8, width=12):
    return np.full((height, width), value, np.uint8)


MARK = grey(0)
MARK[2, 9] = 255
TREE = {
    "train/good/a.png": grey(10),
    "train/good/b.png": grey(20),
    "test/good/a.png": grey(30),
    "test/crack/a.png": grey(40),
    "test/crack/b.png": grey(50),
    "test/hole/a.png": grey(60),
    "ground_truth/crack/a_mask.png": MARK,
    "ground_truth/crack/b_mask.png": grey(255),
    "ground_truth/hole/a_mask.png": grey(0),
}
GROUPS = "file,tile_group\n" + "".join(f"{name},{name[-5]}\n" for name in TREE if not name.startswith("ground"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("around", ["", "tiles/"])
def test_labels_regions_and_groups(write, zip_tree, packed, around):
    root = write({around + name: content for name, content in (TREE | {"groups.csv": GROUPS}).items()})
    source = MvtecFolder(zip_tree(root) if packed else root)
    train, test = source.train(), source.test()
    assert source.classes() == train.classes == test.classes == ("good", "crack", "hole")
    assert (train.labels.tolist(), train.regions, train.groups) == ([0, 0], None, ("a", "b"))
    assert test.labels.tolist() == [0, 1, 1, 2]
    assert test.groups == ("a", "a", "b", "a")
    assert test.regions.flatten(1).sum(1).tolist() == [0, 1, 96, 0]
    assert test.regions[1, 2, 9] == 1
    assert (source.skipped, source.copies()) == ({}, {})


def test_nothing_is_cut_off_and_small_defects_stay(write):
    test = MvtecFolder(write(TREE), image_size=4, channels=1).test()
    assert test.images.shape == (4, 1, 4, 4)
    assert test.regions.flatten(1).sum(1).tolist() == [0, 1, 16, 0]
    assert test.regions[1, 1, 3] == 1
    assert test.groups == ()


def test_without_masks_the_regions_are_not_known(write):
    root = write({name: content for name, content in TREE.items() if not name.startswith("ground")})
    assert MvtecFolder(root).test().regions is None


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        (
            {"train/good/a.png": None, "train/good/b.png": None},
            {},
            "no train/good/; there is .*the layout is train/good/",
        ),
        ({"train/crack/z.png": grey(1)}, {}, "train/ holds crack beside good; training images are all good"),
        ({"test/good/a.png": None}, {}, "test/ holds crack, hole; give good/ and a folder for each kind of defect"),
        (
            {"ground_truth/crack/b_mask.png": None},
            {},
            "test/crack/b.png: there is no mask; give ground_truth/crack/b_mas",
        ),
        ({"ground_truth/crack/z_mask.png": MARK}, {}, "ground_truth/crack/z_mask.png: there is no image to this mask"),
        ({"ground_truth/good/a_mask.png": MARK}, {}, "ground_truth/good/a_mask.png: there is no image to this mask"),
        ({"test/dent/readme.txt": "x"}, {}, "test/dent/ holds no images"),
        ({}, {"group_column": "tile"}, "data.group_column=tile: .* holds no groups.csv"),
        ({"groups.csv": GROUPS}, {"group_column": "tile"}, "groups.csv: has no column 'tile'"),
        ({"groups.csv": GROUPS.replace("tile_", "my_")}, {}, "has no column group or tile_group; name one with data."),
        ({"groups.csv": GROUPS.replace(",a", ",", 1)}, {}, "groups.csv, line 2: tile_group is empty"),
        (
            {"groups.csv": GROUPS.replace("train/good/b.png", "b.png")},
            {},
            "names no group for train/good/b.png; add a r",
        ),
    ],
)
def test_what_does_not_belong_to_the_layout_is_one_line(write, files, options, says):
    root = write(TREE)
    write(files)
    with pytest.raises(DataError, match=says) as raised:
        MvtecFolder(root, **options).classes()
    assert "\n" not in str(raised.value)


def test_a_mask_of_another_size_and_images_of_several_sizes(write):
    root = write(TREE | {"ground_truth/crack/a_mask.png": grey(1, width=8)})
    with pytest.raises(DataError, match="ground_truth/crack/a_mask.png is 8 x 8 but test/crack/a.png is 12 x 8 pixels"):
        MvtecFolder(root).test()
    root = write(TREE | {"train/good/b.png": grey(1, width=9)}, "sizes")
    with pytest.raises(
        DataError, match="train/good/b.png is 9 x 8 but train/good/a.png is 12 x 8.*set data.image_size"
    ):
        MvtecFolder(root).train()
    assert MvtecFolder(root, image_size=5).train().images.shape == (2, 3, 5, 5)


def test_an_unreadable_image(write):
    source = MvtecFolder(write(TREE | {"test/crack/a.png": b"no image"}), on_unreadable="skip")
    assert source.test().labels.tolist() == [0, 1, 2]
    assert list(source.skipped) == ["test/crack/a.png"]


def test_the_real_tiles(shared_data):
    source = MvtecFolder(shared_data / "magnetic_tile.zip", image_size=32, channels=1)
    assert source.classes() == ("good", "blowhole", "break", "crack", "fray", "uneven")
    train, test = source.train(), source.test()
    assert (len(train), train.labels.any().item()) == (710, False)
    assert test.labels.bincount().tolist() == [242, 115, 85, 57, 32, 97]
    assert test.regions.flatten(1).any(1).tolist() == (test.labels > 0).tolist()
    good = {group for group, label in zip(test.groups, test.labels.tolist(), strict=True) if label == 0}
    assert not set(train.groups) & good
    assert len(set(train.groups) | set(test.groups)) == 210
