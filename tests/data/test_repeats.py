"""Images that occur twice are counted and named."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from dynaxx.data import Digits, ImageFolder, LabelledImages, load_prepared, prepare, remarks, training_remarks
from dynaxx.data.repeats import contradictions, same_pixels

PLAIN = {"pretrain_fraction": 0, "groups": None, "split_seed": 0}


@pytest.mark.parametrize("packed", [False, True])
def test_copies_of_training_files_in_test(image_tree: Path, zip_tree, tmp_path: Path, packed: bool) -> None:
    shutil.copy(image_tree / "train/cat/2.png", image_tree / "test/cat/x.png")
    shutil.copy(image_tree / "train/dog/1.png", image_tree / "test/cat/1.png")  # of another class, too
    shutil.copy(image_tree / "test/dog/0.png", image_tree / "test/dog/7.png")  # twice in test is no matter
    source = ImageFolder(zip_tree(image_tree) if packed else image_tree)
    manifest = prepare(source, tmp_path / "out", **PLAIN)
    assert manifest.copies == {"test/cat/1.png": "train/dog/1.png", "test/cat/x.png": "train/cat/2.png"}
    assert load_prepared(tmp_path / "out").manifest == manifest
    (line,) = training_remarks(manifest)
    assert line == (
        "test images that are training images too: 2 "
        "(test/cat/1.png is train/dog/1.png, test/cat/x.png is train/cat/2.png)"
    )


def test_files_of_one_size_are_not_mistaken_for_copies(image_tree: Path) -> None:
    for path in image_tree.rglob("*.png"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".bmp"))
        path.unlink()
    assert len({path.stat().st_size for path in image_tree.rglob("*.bmp")}) == 1
    assert ImageFolder(image_tree).copies() == {}
    shutil.copy(image_tree / "train/dog/3.bmp", image_tree / "test/dog/1.bmp")
    assert ImageFolder(image_tree).copies() == {"test/dog/1.bmp": "train/dog/3.bmp"}


def test_damaged_files_are_no_copies_of_each_other(image_tree: Path) -> None:
    for split in ("train", "test"):
        (image_tree / split / "cat/0.png").write_bytes(b"damaged")
    source = ImageFolder(image_tree, on_unreadable="skip")
    source.train()
    assert source.copies() == {}


def test_the_same_pixels_in_another_format_are_found_when_the_test_images_are_read(
    image_tree: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("train/cat/0.png", "train/dog/3.png", "train/dog/2.png")):
        with Image.open(image_tree / name) as image:
            image.save(image_tree / f"test/dog/copy{number}.bmp")
    (image_tree / "train/cat/notes.txt").write_text("x")
    (image_tree / "test/cat/clip.mov").write_text("x")
    source = ImageFolder(image_tree)
    assert prepare(source, tmp_path / "out", **PLAIN).copies == {}
    source = ImageFolder(image_tree)
    assert remarks(load_prepared(tmp_path / "out"), source.test(), source.skipped) == [
        "test images that are training images too: 3 of 7 (test/dog/copy0.bmp, test/dog/copy1.bmp and 1 more)",
        "training files left out: 1 of suffix .txt",
        "test files left out: 1 of suffix .mov",
    ]


def test_one_image_with_two_labels(image_tree: Path, tmp_path: Path) -> None:
    with Image.open(image_tree / "train/cat/1.png") as image:
        image.save(image_tree / "train/dog/9.bmp")
    shutil.copy(image_tree / "train/dog/0.png", image_tree / "train/dog/again.png")  # the same label twice is no matter
    manifest = prepare(ImageFolder(image_tree), tmp_path / "out", **PLAIN)
    assert manifest.contradictions == (("train/cat/1.png", "train/dog/9.bmp"),)
    assert load_prepared(tmp_path / "out").manifest == manifest
    (line,) = training_remarks(manifest)
    assert line.endswith("another label elsewhere in training: 1 (train/cat/1.png and train/dog/9.bmp)")


def test_images_without_names_are_numbered(tmp_path: Path) -> None:
    prepare(Digits(), tmp_path / "out", **PLAIN)
    prepared, test = load_prepared(tmp_path / "out"), Digits().test()
    assert remarks(prepared, test, {}) == training_remarks(prepared.manifest) == []
    test.images[5], test.images[8] = prepared.images[0], prepared.images[100]
    assert remarks(prepared, test, {}) == ["test images that are training images too: 2 of 359 (image 5, image 8)"]


def test_the_first_of_several_is_named() -> None:
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1) // 2
    assert same_pixels(images, images[3:5]) == {0: 2, 1: 4}
    assert contradictions(LabelledImages(images, torch.tensor([0, 0, 0, 1, 1, 0]), ("a", "b"))) == [(2, 3), (4, 5)]


def test_names_go_with_a_subset() -> None:
    images = LabelledImages(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3).long(), ("a",), ("x", "y", "z"))
    assert images.subset([2, 0]).names == ("z", "x")
    with pytest.raises(ValueError, match="names must be as many as the images, 3, or"):
        LabelledImages(images.images, images.labels, images.classes, ("x",))
