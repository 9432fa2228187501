"""Zips of other systems read like the folder that was packed."""

import zipfile
from pathlib import Path
from unicodedata import normalize

import pytest
import torch

from dynaxx.data import DataError, ImageFolder


def pack(root: Path, rename, folders: bool = False) -> Path:
    packed = root.parent / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file():
                archive.writestr(rename(name), path.read_bytes())
            elif folders:
                archive.writestr(rename(name + "/"), b"")
    return packed


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("/", "\\"),
        lambda name: "My images\\" + name.replace("/", "\\"),
        lambda name: name.replace("/", "\\", 1),
        lambda name: "./" + name,
        lambda name: ".\\" + name.replace("/", "\\"),
        lambda name: name.replace("/", "//"),
    ],
    ids=["backslashes", "a folder around", "mixed", "dot", "dot and backslashes", "double"],
)
def test_slashes_of_all_kinds(image_tree: Path, rename, folders: bool) -> None:
    got, wanted = ImageFolder(pack(image_tree, rename, folders)), ImageFolder(image_tree)
    assert got.classes() == wanted.classes() == ("cat", "dog")
    assert torch.equal(got.train().images, wanted.train().images)
    assert torch.equal(got.test().images, wanted.test().images)
    assert not got.skipped


def test_an_empty_class_is_found_behind_backslashes(image_tree: Path) -> None:
    for split in ("train", "test"):
        (image_tree / split / "bird").mkdir()
    with pytest.raises(DataError, match="class train/bird has no images"):
        ImageFolder(pack(image_tree, lambda name: name.replace("/", "\\"), folders=True)).train()


def test_a_folder_that_only_its_attribute_shows(image_tree: Path) -> None:
    packed = pack(image_tree, lambda name: name)
    entry = zipfile.ZipInfo("train\\cat")
    entry.external_attr = 0x10
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(entry, b"")
    source = ImageFolder(packed)
    assert source.train().labels.bincount().tolist() == [4, 4]
    assert not source.skipped


def test_what_macos_adds_is_passed_over_with_backslashes_too(image_tree: Path) -> None:
    packed = pack(image_tree, lambda name: "images/" + name)
    with zipfile.ZipFile(packed, "a") as archive:
        for name in ("__MACOSX/images/train/cat/._0.png", "__MACOSX\\train\\bird\\0.png", "images\\.DS_Store"):
            archive.writestr(name, b"x")
    assert ImageFolder(packed).classes() == ("cat", "dog")
    assert ImageFolder(packed).train().labels.bincount().tolist() == [4, 4]


@pytest.mark.parametrize("flagged", [True, False])
@pytest.mark.parametrize("name", ["café", "Ωμέγα", "猫"])
def test_utf8_names_with_the_flag_and_without(image_tree: Path, name: str, flagged: bool) -> None:
    for split in ("train", "test"):
        (image_tree / split / "cat").rename(image_tree / split / name)
    packed = pack(image_tree, lambda entry: entry)
    if not flagged:  # as macOS writes them: flag 0x800 is cleared in both headers of each entry
        content = bytearray(packed.read_bytes())
        for start, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
            at = content.find(start)
            while at >= 0:
                content[at + place] &= ~0x08
                at = content.find(start, at + 4)
        packed.write_bytes(content)
    assert ImageFolder(packed).classes() == ImageFolder(image_tree).classes() == tuple(sorted(("dog", name)))
    assert ImageFolder(packed).train().labels.bincount().tolist() == [4, 4]


def test_names_in_code_page_437(image_tree: Path) -> None:
    for split in ("train", "test"):
        (image_tree / split / "cat").rename(image_tree / split / "caf#")
    packed = pack(image_tree, lambda name: name)
    packed.write_bytes(packed.read_bytes().replace(b"caf#", b"caf\x82"))
    assert ImageFolder(packed).classes() == ("café", "dog")
    assert len(ImageFolder(packed).test()) == 4


def test_a_letter_is_the_same_in_both_spellings(image_tree: Path) -> None:
    for split, form in (("train", "NFC"), ("test", "NFD")):
        (image_tree / split / "cat").rename(image_tree / split / normalize(form, "é"))
        (image_tree / split / "dog").rename(image_tree / split / "f")  # comes after one spelling, before the other
    source = ImageFolder(image_tree)
    assert source.classes() == source.train().classes == source.test().classes == ("f", normalize("NFC", "é"))
    assert [name.split("/")[1] for name in source.test().names] == ["f", "f", *[normalize("NFD", "é")] * 2]
    assert source.test().labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("name", ["train\\cat\\..\\..\\..\\x.png", "\\\\server\\x.png", "d:x.png", ".\\..\\x.png"])
def test_backslashes_do_not_lead_out(image_tree: Path, name: str) -> None:
    packed = pack(image_tree, lambda entry: entry.replace("/", "\\"))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match="zip entry points outside its folder"):
        ImageFolder(packed).train()


def test_two_entries_of_one_name_are_not_lost(image_tree: Path) -> None:
    packed = pack(image_tree, lambda entry: entry)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("train\\cat\\0.png", (image_tree / "train/dog/0.png").read_bytes())
    with pytest.raises(DataError, match=r"'train/cat/0.png' and 'train.*0.png' are one file, train/cat/0.png; remove"):
        ImageFolder(packed).train()
