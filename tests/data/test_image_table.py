"""Images with numbers from train.csv and test.csv."""

import numpy as np
import pytest
import torch

from dynaxx.data import DataError, ImageTable

IMAGE = [np.full((6, 6, 3), 40 * number, np.uint8) for number in range(6)]
GOOD = {
    "train.csv": "file,size,group\nimages/0.png,1.5,beach\nimages/1.png,-2e1,dune\nimages/2.png, 3 ,beach\n",
    "test.csv": '\ufefffile,note,group,size\nimages/3.png,"a, b",river,4\n\nimages\\4.png,,river,5\n',
    **{f"images/{number}.png": IMAGE[number] for number in range(5)},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("around", ["", "pack/"])
def test_numbers_groups_and_names(write, zip_tree, packed, around):
    root = write({around + name: content for name, content in GOOD.items()})
    source = ImageTable(zip_tree(root) if packed else root)
    train, test = source.train(), source.test()
    assert source.classes() == train.classes == test.classes == ("size",)
    assert train.labels.tolist() == [[1.5], [-20.0], [3.0]]
    assert train.groups == ("beach", "dune", "beach")
    assert test.labels.tolist() == [[4.0], [5.0]]
    assert test.names == (f"{around}images/3.png", f"{around}images/4.png")
    assert train.images[:, 0, 0, 0].tolist() == [0, 40, 80]
    assert (source.copies(), source.skipped, source.links()) == ({}, {}, ())


def test_several_targets_no_groups_and_another_column_of_groups(write):
    several = "file,width,height,place\nimages/0.png,1,2,a\nimages/1.png,3,4,b\n"
    root = write(GOOD | {"train.csv": several, "test.csv": several})
    source = ImageTable(root, target=["height", "width"], channels=1, image_size=3)
    assert source.train().labels.tolist() == [[2.0, 1.0], [4.0, 3.0]]
    assert source.train().images.shape == (2, 1, 3, 3)
    assert source.train().groups == ()
    assert source.copies() == {"images/0.png": "images/0.png", "images/1.png": "images/1.png"}
    assert ImageTable(root, target="width", group_column="place").train().groups == ("a", "b")
    with pytest.raises(DataError, match="several columns of numbers, width, height; name those .* data.target=width"):
        ImageTable(root).classes()


TRAIN = GOOD["train.csv"]


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        ({"train.csv": None}, {}, r"no train.csv; there is images/, test.csv; the layout is train.csv"),
        ({"test.csv": None}, {}, r"no test.csv"),
        ({"train.csv": ""}, {}, "train.csv: has no rows"),
        ({"train.csv": "file,size\n"}, {}, "train.csv: has no rows"),
        ({"train.csv": b"file,size\n\xff\xfe,1"}, {}, "train.csv: cannot be read .*UTF-8"),
        ({"train.csv": "name,size\na,1\n"}, {}, "train.csv: has no column 'file'; its columns are name, size"),
        ({"train.csv": "file,size,size\na,1,2\n"}, {}, "has column 'size' more than once"),
        ({"train.csv": "file,size\nimages/0.png,1,2\n"}, {}, "train.csv, line 2: has 3 cells, not 2"),
        ({"train.csv": "file,kind\nimages/0.png,big\n"}, {}, "has no column of numbers; its columns are file, kind"),
        ({"train.csv": TRAIN.replace("1.5", "nan")}, {"target": "size"}, "line 2: size=nan is no finite number"),
        ({"train.csv": TRAIN.replace("1.5", "inf")}, {"target": "size"}, "line 2: size=inf is no finite number"),
        ({"train.csv": TRAIN.replace("1.5", "")}, {"target": "size"}, "line 2: size is empty"),
        ({"train.csv": TRAIN.replace("1.5", "1,5")}, {"target": "size"}, "line 2: has 4 cells, not 3"),
        ({"test.csv": "file,size\nimages/3.png,big\n"}, {}, "test.csv, line 2: size=big is no finite number"),
        (
            {"test.csv": "file,width\nimages/3.png,1\n"},
            {},
            "test.csv has no column 'size'; its columns are file, width",
        ),
        ({"train.csv": TRAIN.replace("beach", "", 1)}, {}, "line 2: group is empty; name a group for each image"),
        ({"train.csv": TRAIN.replace("images/1", "./images/0")}, {}, "line 3: names ./images/0.png, as line 2 does"),
        ({"train.csv": TRAIN.replace("images/1", "images/9")}, {}, "line 3: there is no file images/9.png"),
        ({"train.csv": TRAIN.replace("images/1.png", "")}, {}, "line 3: file is empty"),
        ({"train.csv": TRAIN.replace("images/1", "../1")}, {}, "line 3: file=../1.png points outside the folder"),
        ({"train.csv": TRAIN.replace("images/1", "/etc/1")}, {}, "line 3: file=/etc/1.png points outside"),
        ({}, {"target": "depth"}, "train.csv has no column 'depth'; its columns are file, size, group"),
        ({}, {"target": []}, r"data.target=\[\]: give columns of numbers"),
        ({}, {"target": ["size", "size"]}, r"data.target=\['size', 'size'\]"),
        ({}, {"target": "group"}, r"data.target=\['group'\]"),
        ({}, {"group_column": "patient"}, "train.csv has no column 'patient'"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(write, files, options, says):
    root = write(GOOD)
    write(files)
    with pytest.raises(DataError, match=says) as raised:  # classes() is what compose judges: no image is opened
        ImageTable(root, **options).classes()
    assert "\n" not in str(raised.value)


def test_an_unreadable_image(write):
    root = write(GOOD | {"images/1.png": b"no image"})
    with pytest.raises(DataError, match="cannot read images/1.png: .*data.on_unreadable=skip"):
        ImageTable(root).train()
    source = ImageTable(root, on_unreadable="skip")
    train = source.train()
    assert train.labels.tolist() == [[1.5], [3.0]]
    assert train.groups == ("beach", "beach")
    source.copies()
    assert list(source.skipped) == ["images/1.png"]


def test_the_real_sediment(shared_data):
    source = ImageTable(shared_data / "sediment_d50.zip", image_size=32, target="log2_d50")
    train, test = source.train(), source.test()
    assert (len(train), len(test), len(set(train.groups)), len(set(test.groups))) == (171, 85, 45, 22)
    assert not set(train.groups) & set(test.groups)
    assert [round(float(v), 2) for v in (train.labels.mean(), test.labels.mean())] == [4.89, 4.73]
    assert torch.isfinite(train.labels).all()
    with pytest.raises(DataError, match="several columns of numbers, log2_d50, d50_px, d16_px, d84_px"):
        ImageTable(shared_data / "sediment_d50.zip").classes()
