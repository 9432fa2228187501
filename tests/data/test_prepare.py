import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dynaxx.data import DataError, Digits, ImageFolder, LabelledImages, Manifest, load_prepared, prepare
from dynaxx.data.normalise import pixel_statistics

GROUPS = {"low": ["0", "1", "2", "3", "4"], "high": ["9", "8", "7", "6", "5"]}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "digits"
    prepare(Digits(), out, pretrain_fraction=0.5, groups=GROUPS, split_seed=3)
    return out


def test_round_trip(digits: Path) -> None:
    prepared, train = load_prepared(digits), Digits().train()
    assert torch.equal(prepared.images, train.images)
    assert torch.equal(prepared.labels, train.labels)
    assert not set(prepared.pretrain_index.tolist()) & set(prepared.task_index.tolist())
    assert len(prepared.pretrain_index) + len(prepared.task_index) == len(train)
    task = prepared.task()
    assert torch.equal(task.images, train.images[prepared.task_index])
    assert torch.equal(task.labels, train.labels[prepared.task_index])
    assert task.classes == train.classes
    assert sorted(path.name for path in digits.parent.iterdir()) == ["digits"]


def test_pretraining_has_the_coarse_labels(digits: Path) -> None:
    prepared, train = load_prepared(digits), Digits().train()
    pretrain = prepared.pretrain()
    assert pretrain.classes == ("low", "high")
    fine = train.labels[prepared.pretrain_index]
    assert torch.equal(pretrain.labels, (fine >= 5).long())
    assert torch.equal(pretrain.images, train.images[prepared.pretrain_index])


def test_manifest(digits: Path) -> None:
    manifest, pretrain = load_prepared(digits).manifest, load_prepared(digits).pretrain()
    assert manifest.classes == tuple("0123456789")
    assert manifest.groups == {name: tuple(members) for name, members in GROUPS.items()}
    assert manifest.image_shape == (1, 8, 8)
    assert list(manifest.counts.values()) == Digits().train().labels.bincount().tolist()
    assert (manifest.mean, manifest.std) == pixel_statistics(pretrain.images)
    assert (manifest.skipped, manifest.pretrain_fraction, manifest.split_seed) == ({}, 0.5, 3)


def test_the_same_input_gives_the_same_bytes_and_another_seed_does_not(digits: Path, tmp_path: Path) -> None:
    for seed, name in ((3, "same"), (4, "other")):
        prepare(Digits(), tmp_path / name, pretrain_fraction=0.5, groups=GROUPS, split_seed=seed)
    for file in ("train.safetensors", "manifest.json"):
        assert (tmp_path / "same" / file).read_bytes() == (digits / file).read_bytes()
        assert (tmp_path / "other" / file).read_bytes() != (digits / file).read_bytes()


def test_the_digest_follows_pixels_and_labels(image_tree: Path, zip_tree, tmp_path: Path) -> None:
    def digest(source: ImageFolder) -> str:
        return prepare(source, tmp_path / "out", pretrain_fraction=0, groups=None, split_seed=0).sha256

    before = digest(ImageFolder(image_tree))
    assert digest(ImageFolder(zip_tree(image_tree, "around/"))) == before
    a, b = image_tree / "train/cat/0.png", image_tree / "train/cat/1.png"
    a.rename(image_tree / "x.png")
    b.rename(a)
    (image_tree / "x.png").rename(b)
    assert digest(ImageFolder(image_tree)) != before


def test_skipped_files_are_in_the_manifest(image_tree: Path, tmp_path: Path) -> None:
    (image_tree / "train/cat/2.png").write_bytes(b"")
    source = ImageFolder(image_tree, on_unreadable="skip")
    manifest = prepare(source, tmp_path / "out", pretrain_fraction=0.4, groups=None, split_seed=0)
    assert list(manifest.skipped) == ["train/cat/2.png"]
    assert manifest.counts == {"cat": 3, "dog": 4}
    assert load_prepared(tmp_path / "out").manifest == manifest
    assert load_prepared(tmp_path / "out").pretrain().classes == ("cat", "dog")


def test_test_images_stay_closed(image_tree: Path, tmp_path: Path) -> None:
    for path in image_tree.glob("test/*/*"):
        path.write_bytes(b"not to be opened")
    prepare(ImageFolder(image_tree), tmp_path / "out", pretrain_fraction=0.5, groups=None, split_seed=0)


def test_without_pretraining(tmp_path: Path) -> None:
    manifest = prepare(Digits(), tmp_path / "out", pretrain_fraction=0, groups=None, split_seed=0)
    prepared = load_prepared(tmp_path / "out")
    assert len(prepared.task()) == len(prepared.images)
    assert (manifest.mean, manifest.std) == pixel_statistics(prepared.images)
    with pytest.raises(DataError, match="pretrain_fraction=0"):
        prepared.pretrain()


def test_numbers_in_yaml_name_classes_too(tmp_path: Path) -> None:
    groups = {"low": [0, 1, 2, 3, 4], "high": [5, 6, 7, 8, 9]}
    manifest = prepare(Digits(), tmp_path / "out", pretrain_fraction=0.5, groups=groups, split_seed=0)
    assert manifest.groups["low"] == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": {"low": ["0", "1"]}}, "leaves out class '2'"),
        ({"groups": {**GROUPS, "more": ["3"]}}, "names class '3' 2 times"),
        ({"groups": {**GROUPS, "more": ["ten"]}}, "names 'ten', which is no class"),
        ({"groups": {**GROUPS, "more": "9"}}, "data.groups.more must be a list"),
        ({"groups": {**GROUPS, "more": []}}, "data.groups.more must be a list"),
        ({"pretrain_fraction": 1.0}, "pretrain_fraction must lie in"),
        ({"pretrain_fraction": float("nan")}, "pretrain_fraction must lie in"),
    ],
)
def test_bad_options_write_nothing(tmp_path: Path, options: dict, message: str) -> None:
    defaults = {"pretrain_fraction": 0.5, "groups": None, "split_seed": 0}
    with pytest.raises(DataError, match=message):
        prepare(Digits(), tmp_path / "out", **(defaults | options))
    assert list(tmp_path.iterdir()) == []


class Counted:
    """A source with so many training images of each class."""

    def __init__(self, *counts: int) -> None:
        self.counts = counts

    def classes(self) -> tuple[str, ...]:
        return tuple("abcd"[: len(self.counts)])

    def train(self) -> LabelledImages:
        labels = torch.cat([torch.full((count,), label) for label, count in enumerate(self.counts)])
        pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
        return LabelledImages(pixels, labels, self.classes())


@pytest.mark.parametrize("counts", [(60, 4, 3), (3, 3), (3, 30, 30, 3), (70, 3)])
@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_class_keeps_two_images_for_the_task(tmp_path: Path, counts, fraction: float, seed: int) -> None:
    prepare(Counted(*counts), tmp_path / "out", pretrain_fraction=fraction, groups=None, split_seed=seed)
    prepared = load_prepared(tmp_path / "out")
    assert int(prepared.task().labels.bincount().min()) >= 2
    assert int(prepared.pretrain().labels.bincount(minlength=len(counts)).min()) >= 1


@pytest.mark.parametrize(
    ("counts", "fraction", "message"),
    [
        ((30, 2), 0.5, "class 'b' has 2 training images.*pretrain_fraction=0 with a trained model"),
        ((1, 30), 0.5, "class 'a' has 1 training image; give two or more"),
        ((9, 1, 9), 0.0, "class 'b' has 1 training image; give two or more"),
    ],
)
def test_a_class_that_is_too_rare_is_named(tmp_path: Path, counts, fraction: float, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        prepare(Counted(*counts), tmp_path / "out", pretrain_fraction=fraction, groups=None, split_seed=0)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_preparation_is_replaced_and_nothing_else_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(Digits(), out, pretrain_fraction=0, groups=None, split_seed=0)
    prepare(Digits(), out, pretrain_fraction=0.5, groups=None, split_seed=0)
    assert load_prepared(out).manifest.pretrain_fraction == 0.5
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(DataError, match="holds something else than prepared data"):
        prepare(Digits(), tmp_path / "mine", pretrain_fraction=0, groups=None, split_seed=0)
    assert (tmp_path / "mine/thesis.txt").read_text() == "x"


FILE_LIMIT = 50_000
"""Bytes a file may have in the two tests below; the prepared digits have 92,000 bytes of pixels alone."""


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write prepared data to .*out: ") as caught:
            prepare(Digits(), tmp_path / "out", pretrain_fraction=0, groups=None, split_seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_nothing_that_looks_prepared_and_the_next_run_clears_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = f"""
import resource, signal
from pathlib import Path
from dynaxx.data import Digits, prepare
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel ends the process in the middle of a write
resource.setrlimit(resource.RLIMIT_FSIZE, ({FILE_LIMIT}, {FILE_LIMIT}))
prepare(Digits(), Path({str(out)!r}), pretrain_fraction=0, groups=None, split_seed=0)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGXFSZ
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"]
    with pytest.raises(DataError, match="missing or damaged"):
        load_prepared(out)
    prepare(Digits(), out, pretrain_fraction=0, groups=None, split_seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("file", ["train.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "garbage"])
def test_damage_is_noticed(digits: Path, tmp_path: Path, file: str, damage: str) -> None:
    for path in digits.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    victim = tmp_path / file
    content = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    else:
        victim.write_bytes({"empty": b"", "cut": content[:-20], "garbage": b"\xff\x00" * 200}[damage])
    with pytest.raises(DataError, match=f"missing or damaged: .*{file}.*run the prepare stage again") as caught:
        load_prepared(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["a", "b"]},
        {"image_shape": [3, 8, 8]},
        {"image_shape": []},
        {"mean": [float("nan")]},
        {"std": []},
        {"counts": {str(digit): 1 for digit in range(10)}},
        {"surprise": 1},
        {"groups": 5},
    ],
)
def test_a_manifest_that_does_not_fit(digits: Path, tmp_path: Path, change: dict) -> None:
    content = json.loads((digits / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(content | change))
    (tmp_path / "train.safetensors").write_bytes((digits / "train.safetensors").read_bytes())
    with pytest.raises(DataError, match="missing or damaged"):
        load_prepared(tmp_path)


def test_other_images_are_checked_against_the_manifest(digits: Path) -> None:
    manifest = Manifest.read(digits / "manifest.json")
    test = Digits().test()
    manifest.check(test)
    with pytest.raises(DataError, match=r"shape \(1, 4, 8\) differ .*\(1, 8, 8\); set data.image_size"):
        manifest.check(LabelledImages(test.images[:, :, :4], test.labels, test.classes))
    with pytest.raises(DataError, match="differ from the prepared"):
        manifest.check(LabelledImages(test.images, test.labels, tuple("abcdefghij")))
