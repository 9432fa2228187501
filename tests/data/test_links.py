"""Folders that are links are read as folders, or refused by name."""

import os
from pathlib import Path

import pytest

from dynaxx.data import DataError, ImageFolder, prepare


def counts(source: ImageFolder) -> list[int]:
    return source.train().labels.bincount().tolist()


def refused(root: Path, *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        ImageFolder(root).train()
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("linked", ["train", "train/cat", "test/dog", "train/cat/deep"])
@pytest.mark.parametrize("relative", [False, True])
def test_a_link_reads_like_its_folder(image_tree: Path, tmp_path: Path, linked: str, relative: bool) -> None:
    (image_tree / "train/cat/deep").mkdir()
    (image_tree / "train/cat/0.png").rename(image_tree / "train/cat/deep/0.png")
    wanted = ImageFolder(image_tree).train().images
    link, away = image_tree / linked, tmp_path / "away"
    link.rename(away)
    link.symlink_to(os.path.relpath(away, link.parent) if relative else away)
    source = ImageFolder(image_tree)
    assert source.train().images.equal(wanted)
    assert source.links() == (linked,)
    assert not source.skipped


def test_the_root_and_the_folder_around_the_splits_may_be_links(image_tree: Path, tmp_path: Path) -> None:
    (tmp_path / "root").symlink_to(image_tree)
    assert counts(ImageFolder(tmp_path / "root")) == [4, 4]
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer/images").symlink_to(image_tree)
    source = ImageFolder(tmp_path / "outer")
    assert counts(source) == [4, 4]
    assert source.links() == ("images",)


def test_one_folder_linked_twice_is_read_twice(image_tree: Path, tmp_path: Path) -> None:
    image_tree.joinpath("test/cat").rename(tmp_path / "more")
    for place in ("test/cat", "train/cat/a", "train/cat/b"):
        (image_tree / place).symlink_to(tmp_path / "more")
    source = ImageFolder(image_tree)
    assert counts(source) == [8, 4]
    assert source.links() == ("test/cat", "train/cat/a", "train/cat/b")


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("train/cat/up", ".."),
        ("train/cat/here", "."),
        ("test/dog/top", "../.."),
        ("train/cat/disk", "/"),
        ("train/bird", "."),
    ],
)
def test_a_link_to_a_folder_that_holds_it_is_refused(image_tree: Path, place: str, target: str) -> None:
    (image_tree / place).symlink_to(target)
    refused(image_tree, f"{place} is a link to ", "a folder that holds it; remove the link")


def test_two_classes_linked_into_each_other_are_refused(image_tree: Path) -> None:
    (image_tree / "train/cat/x").symlink_to("../dog")
    (image_tree / "train/dog/y").symlink_to("../cat")
    refused(image_tree, "train/cat/x/y is a link to ", "a folder that holds it")


@pytest.mark.parametrize("place", ["train/bird", "train/cat/more", "train/cat/9.png", "test/dog/9.jpg"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_to_nothing_is_refused_or_listed(image_tree: Path, place: str, target: str) -> None:
    link = image_tree / place
    link.symlink_to(link.name if target == "itself" else target)
    refused(image_tree, f"{place} is linked to nothing", "data.on_unreadable=skip")
    source = ImageFolder(image_tree, on_unreadable="skip")
    assert counts(source) == [4, 4]
    source.test()
    assert source.skipped == {place: "linked to nothing"}


def test_a_split_that_is_a_link_to_nothing_is_named(image_tree: Path, tmp_path: Path) -> None:
    (image_tree / "test").rename(tmp_path / "gone")
    (image_tree / "test").symlink_to(tmp_path / "elsewhere")
    refused(image_tree, "test is linked to nothing")
    with pytest.raises(DataError, match="test is linked to nothing"):
        ImageFolder(image_tree, on_unreadable="skip").train()


def test_a_pipe_is_not_waited_for(image_tree: Path) -> None:
    os.mkfifo(image_tree / "train/cat/pipe.png")
    refused(image_tree, "train/cat/pipe.png is no regular file")


def test_links_beside_the_splits_and_hidden_links_are_not_followed(image_tree: Path) -> None:
    for place, target in (
        ("disk", "/"),
        ("loop", "."),
        ("broken", "nowhere"),
        ("self", "self"),
        ("train/cat/.trash", ".."),
    ):
        (image_tree / place).symlink_to(target)
    source = ImageFolder(image_tree)
    assert counts(source) == [4, 4]
    assert source.links() == ()


def test_a_class_that_is_linked_into_another_contradicts_it(image_tree: Path, tmp_path: Path) -> None:
    (image_tree / "train/cat/x").symlink_to("../dog")
    manifest = prepare(ImageFolder(image_tree), tmp_path / "out", pretrain_fraction=0, groups=None, split_seed=0)
    assert manifest.contradictions[0] == ("train/cat/x/0.png", "train/dog/0.png")
    assert len(manifest.contradictions) == 4


def test_a_second_copy_of_the_splits_further_down_is_not_looked_at(image_tree: Path) -> None:
    (image_tree / "backup/train/cat").mkdir(parents=True)
    (image_tree / "backup/train/cat/9.png").symlink_to("nowhere")
    assert counts(ImageFolder(image_tree)) == [4, 4]
