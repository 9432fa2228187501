"""A wrong layout is one line: what is there, and what would do."""

from pathlib import Path

import pytest

from dynaxx.data import DataError, ImageFolder


def told(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        ImageFolder(root).classes()
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(root.absolute()), "ROOT")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"train": "Train"}, "no train/ folder; there is Train/, test/; rename Train/ to train/"),
        ({"test": "val"}, "no test/ folder; there is train/, val/; rename val/ to test/"),
        ({"test": "Validation"}, "no test/ folder; there is Validation/, train/; rename Validation/ to test/"),
        (
            {"train": "TRAIN", "test": "Testing"},
            "no train/ and no test/ folder; there is TRAIN/, Testing/; rename TRAIN/ to train/ and Testing/ to test/",
        ),
        ({"test": "holdout"}, "no test/ folder; there is holdout/, train/; the layout is test/<class>/"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("around", [False, True])
def test_other_names(image_tree: Path, zip_tree, names: dict, message: str, packed: bool, around: bool) -> None:
    for old, new in names.items():
        (image_tree / old).rename(image_tree / new)
    root = image_tree.parent if around and not packed else image_tree
    root = zip_tree(image_tree, "tree/" if around else "") if packed else root
    if around and len(names) == 2:
        message = message.replace("TRAIN/,", "tree/TRAIN/,").replace("Testing/;", "tree/Testing/;")
    assert message in told(root)


@pytest.mark.parametrize("inside", ["train", "test", "train/cat"])
def test_a_folder_too_deep(image_tree: Path, inside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = f"give the folder that holds {inside.split('/')[0]}/, {image_tree}"
    assert told(image_tree / inside).endswith(wanted)
    monkeypatch.chdir(image_tree / inside)
    assert told(Path()).endswith(wanted)


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert told(tmp_path / "empty").endswith("there are no folders; the layout is train/<class>/ and test/<class>/")


def test_only_one_class(image_tree: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (image_tree / split / "dog").rename(tmp_path / split)
    assert told(image_tree).endswith("there is only one class, cat; add the folders of the others to both splits")


def test_a_class_of_one_split_only(image_tree: Path) -> None:
    (image_tree / "test/bird").mkdir()
    (image_tree / "test/bird/0.png").write_bytes(b"")
    assert told(image_tree).endswith(
        "classes differ between train and test (only in test/: bird); "
        "give both the same class folders, of the same names"
    )


def test_many_folders_are_cut_short(tmp_path: Path) -> None:
    for number in range(100, 120):
        (tmp_path / "root" / str(number)).mkdir(parents=True)
    assert "there is 100/, 101/, 102/, 103/, 104/ and 15 more; " in told(tmp_path / "root")
