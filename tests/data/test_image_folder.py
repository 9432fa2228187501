import io
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynaxx.data import DataError, ImageFolder

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10_25k.zip"


def fails(source: ImageFolder, message: str, method: str = "train") -> None:
    with pytest.raises(DataError, match=message) as caught:
        getattr(source, method)()
    assert "\n" not in str(caught.value)


def same(a, b) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and a.classes == b.classes


def test_pixels_labels_and_classes(image_tree: Path) -> None:
    source = ImageFolder(image_tree)
    train = source.train()
    assert source.classes() == train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0] * 4 + [1] * 4
    assert source.test().labels.tolist() == [0, 0, 1, 1]
    for number in range(4):
        with Image.open(image_tree / f"train/dog/{number}.png") as image:
            assert np.array_equal(train.images[4 + number].permute(1, 2, 0).numpy(), np.asarray(image))


@pytest.mark.parametrize("around", ["", "data/"])
def test_a_zip_reads_like_its_folder(image_tree: Path, zip_tree: Callable[..., Path], around: str) -> None:
    packed = ImageFolder(zip_tree(image_tree, around))
    assert packed.classes() == ("cat", "dog")
    assert same(packed.train(), ImageFolder(image_tree).train())
    assert same(packed.test(), ImageFolder(image_tree).test())
    assert sorted(path.name for path in packed.root.parent.iterdir()) == sorted([packed.root.name, "tree"])


def test_one_folder_around(image_tree: Path) -> None:
    (image_tree.parent / "other").mkdir()
    assert same(ImageFolder(image_tree.parent).train(), ImageFolder(image_tree).train())


def test_hidden_macosx_and_other_files_are_passed_over(image_tree: Path, zip_tree: Callable[..., Path]) -> None:
    wanted = ImageFolder(image_tree).train()
    (image_tree / "README.txt").write_text("x")
    (image_tree / "train/Thumbs.db").write_text("x")
    (image_tree / "train/cat/notes.txt").write_text("x")
    (image_tree / "train/cat/.hidden.png").write_text("x")
    (image_tree / "train/.cache").mkdir()
    (image_tree / "__MACOSX/train/fish").mkdir(parents=True)
    (image_tree / "__MACOSX/train/fish/a.png").write_text("x")
    assert same(ImageFolder(image_tree).train(), wanted)
    assert same(ImageFolder(zip_tree(image_tree)).train(), wanted)


def test_folders_within_a_class_and_upper_case_suffixes(image_tree: Path) -> None:
    (image_tree / "train/cat/deep").mkdir()
    (image_tree / "train/cat/0.png").rename(image_tree / "train/cat/deep/0.PNG")
    assert len(ImageFolder(image_tree).train()) == 8


def test_grey_and_palette(image_tree: Path) -> None:
    with Image.open(image_tree / "train/cat/0.png") as image:
        grey = np.asarray(image.convert("L"))
        image.convert("P").save(image_tree / "train/cat/1.png")
    train = ImageFolder(image_tree, channels=1).train()
    assert train.images.shape == (8, 1, 5, 6)
    assert np.array_equal(train.images[0, 0].numpy(), grey)


def test_exif_orientation_is_applied(image_tree: Path) -> None:
    upright = Image.fromarray(np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = 8  # to be shown turned by 90 degrees counter-clockwise
    upright.transpose(Image.Transpose.ROTATE_270).save(image_tree / "train/cat/0.png", exif=exif)
    got = ImageFolder(image_tree).train().images[0].permute(1, 2, 0).numpy()
    assert np.array_equal(got, np.asarray(upright))


def test_resize_short_side_then_centre_cut(image_tree: Path) -> None:
    # Left and right thirds black, the centre white: only the centre is left of a 30 x 10 image.
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(image_tree / "train/cat/0.png")
    train = ImageFolder(image_tree, image_size=4).train()
    assert train.images.shape == (8, 3, 4, 4)
    assert train.images[0, :, :, 1:3].min() == 255


def test_an_odd_size_is_named(image_tree: Path) -> None:
    Image.new("RGB", (9, 7)).save(image_tree / "train/dog/2.png")
    fails(ImageFolder(image_tree), r"train/dog/2.png is 9 x 7 but train/cat/0.png is 6 x 5.*set data.image_size")


@pytest.mark.parametrize("damage", [b"", b"no image", "cut"])
@pytest.mark.parametrize("packed", [False, True])
def test_an_unreadable_image(image_tree: Path, zip_tree: Callable[..., Path], damage, packed: bool) -> None:
    broken = image_tree / "train/cat/2.png"
    broken.write_bytes(broken.read_bytes()[:60] if damage == "cut" else damage)
    root = zip_tree(image_tree) if packed else image_tree
    fails(ImageFolder(root), r"cannot read train/cat/2.png: .*data.on_unreadable=skip")
    source = ImageFolder(root, on_unreadable="skip")
    assert source.train().labels.tolist() == [0] * 3 + [1] * 4
    source.train()
    source.test()
    assert list(source.skipped) == ["train/cat/2.png"]
    assert source.skipped["train/cat/2.png"].startswith("unreadable: ")


def test_a_damaged_zip_entry_is_named(image_tree: Path, zip_tree: Callable[..., Path]) -> None:
    packed = zip_tree(image_tree)
    content = packed.read_bytes()
    victim = (image_tree / "train/cat/1.png").read_bytes()
    at = content.index(victim) + len(victim) // 2
    packed.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    fails(ImageFolder(packed), "cannot read train/cat/1.png: Bad CRC-32")


def test_pixels_of_more_than_8_bits_are_not_clipped(image_tree: Path) -> None:
    floats = np.full((5, 6), np.nan, np.float32)
    Image.fromarray(floats).save(image_tree / "train/cat/3.tiff")
    fails(ImageFolder(image_tree), "train/cat/3.tiff: pixels of mode F have more than 8 bits")


def test_a_class_of_which_all_images_were_skipped(image_tree: Path) -> None:
    for path in (image_tree / "train/dog").iterdir():
        path.write_bytes(b"")
    fails(ImageFolder(image_tree, on_unreadable="skip"), "class train/dog has no readable image")


def test_no_readable_image_at_all(image_tree: Path) -> None:
    for path in image_tree.glob("train/*/*"):
        path.write_bytes(b"")
    fails(ImageFolder(image_tree, on_unreadable="skip"), "there is no readable image")


def test_root_is_missing(tmp_path: Path) -> None:
    fails(ImageFolder(tmp_path / "nowhere"), r"data.root does not exist: .*nowhere", "classes")


def a_zip_with(**spoilt: int) -> bytes:
    """Bytes of its central directory changed."""
    places = {"version": 6, "flags": 9, "name": 46}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train/a/0.png", b"")
    content = bytearray(buffer.getvalue())
    for place, value in spoilt.items():
        content[content.index(b"PK\x01\x02") + places[place]] = value
    return bytes(content)


LATER, NO_UTF8 = a_zip_with(version=99), a_zip_with(flags=0x08, name=0x93)


@pytest.mark.parametrize("content", [b"", b"PK no zip", b"\x00" * 1000, LATER, NO_UTF8])
def test_root_is_no_zip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    fails(ImageFolder(tmp_path / "a.zip"), "neither a directory nor a readable .zip", "classes")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "train/../../evil.png",
        "/etc/evil.png",
        "train\\..\\..\\evil.png",
        "C:\\evil.png",
        "\\e.png",
    ],
)
@pytest.mark.parametrize("method", ["classes", "train", "test"])
def test_a_zip_entry_that_points_outside(
    image_tree: Path, zip_tree: Callable[..., Path], name: str, method: str
) -> None:
    packed = zip_tree(image_tree)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"x")
    fails(ImageFolder(packed), f"zip entry points outside its folder: {re.escape(repr(name))}", method)


def test_a_zip_entry_that_is_a_symbolic_link(image_tree: Path, zip_tree: Callable[..., Path]) -> None:
    packed = zip_tree(image_tree)
    link = zipfile.ZipInfo("train/cat/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(link, "../../../secret.png")
    fails(ImageFolder(packed), "symbolic link: 'train/cat/link.png'")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("method", ["classes", "train"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_with_no_images(image_tree, zip_tree, packed: bool, method: str, split: str) -> None:
    for path in (image_tree / split / "dog").iterdir():
        path.unlink()
    root = zip_tree(image_tree) if packed else image_tree
    fails(ImageFolder(root), f"class {split}/dog has no images", method)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("method", ["classes", "train", "test"])
def test_classes_that_differ(image_tree: Path, zip_tree, packed: bool, method: str) -> None:
    (image_tree / "test/dog").rename(image_tree / "test/wolf")
    root = zip_tree(image_tree) if packed else image_tree
    fails(ImageFolder(root), r"only in train/: dog; only in test/: wolf", method)


@pytest.mark.parametrize("packed", [False, True])
def test_layouts_without_train_or_test(image_tree: Path, zip_tree, packed: bool) -> None:
    def root() -> Path:
        return zip_tree(image_tree) if packed else image_tree

    (image_tree / "test").rename(image_tree / "testing")
    fails(ImageFolder(root()), "no test/ folder", "classes")
    (image_tree / "train").rename(image_tree / "training")
    fails(ImageFolder(root()), "no train/ and no test/ folder", "classes")
    (image_tree / "testing").rename(image_tree / "test")
    fails(ImageFolder(root()), "no train/ folder", "classes")


def test_several_folders_that_would_do(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "train").mkdir(parents=True)
    fails(ImageFolder(tmp_path), "several folders hold train/ or test/: a, b", "classes")


def test_an_image_outside_a_class(image_tree: Path) -> None:
    (image_tree / "train/cat/0.png").rename(image_tree / "train/0.png")
    fails(ImageFolder(image_tree), "train/0.png lies outside any class folder", "classes")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "data.image_size=0: give a whole number"),
        ({"on_unreadable": "ignore"}, "data.on_unreadable must be error or skip, got 'ignore'"),
        ({"channels": 4}, "data.channels must be 1 or 3, got 4"),
    ],
)
def test_options(options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageFolder("anywhere", **options)


def test_train_and_classes_leave_test_images_closed(image_tree: Path) -> None:
    for path in image_tree.glob("test/*/*"):
        path.write_bytes(b"not to be opened")
    source = ImageFolder(image_tree)
    assert source.classes() == ("cat", "dog")
    assert len(source.train()) == 8
    fails(source, "cannot read test/cat/0.png", "test")


@pytest.mark.skipif(not CIFAR.exists(), reason="the CIFAR-10 archive is not beside the project")
def test_real_images(tmp_path: Path) -> None:
    small = tmp_path / "small.zip"
    with zipfile.ZipFile(CIFAR) as archive, zipfile.ZipFile(small, "w") as few:
        for name in archive.namelist():
            if re.search(r"/000\d\.jpg$", name):
                few.writestr(name, archive.read(name))
        with Image.open(io.BytesIO(archive.read("cifar10/train/truck/0003.jpg"))) as image:
            pixels = np.asarray(image)
    train = ImageFolder(small).train()
    assert train.images.shape == (100, 3, 32, 32)
    assert train.classes[0] == "airplane"
    assert np.array_equal(train.images[93].permute(1, 2, 0).numpy(), pixels)


def test_images_whose_paths_share_what_is_looked_for_are_a_group(image_tree: Path) -> None:
    plain = ImageFolder(image_tree).train()
    assert plain.groups == ()
    names = plain.names
    by_class = ImageFolder(image_tree, group_by=r"train/(\w+)/").train()
    assert by_class.groups == tuple(name.split("train/")[1].split("/")[0] for name in names)
    whole = ImageFolder(image_tree, group_by=r"train/\w+").train()
    assert set(whole.groups) == {f"train/{name}" for name in plain.classes}
    with pytest.raises(DataError, match=r"data.group_by='\(': no regular expression"):
        ImageFolder(image_tree, group_by="(")
    with pytest.raises(DataError, match=r"data.group_by='place': does not match .*; give what every path has, or null"):
        ImageFolder(image_tree, group_by="place").train()
