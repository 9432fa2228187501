"""An image is read whatever its suffix; what is not read is listed with the reason."""

import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from dynaxx.data import DataError, ImageFolder, count_reasons
from dynaxx.data.decode import _register_plugins, readable_suffixes

SUFFIXES = (
    *(".JFIF", ".jpe", ".Jpg", ".avif", ".j2k", ".JP2", ".jpx", ".tif", ".dib", ".pnm", ".tga", ".pcx", ".sgi"),
    *(".qoi", ".ico", ".dds", ".apng", ".mpo", ".gif", ".webp", ".xbm"),
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_of_pillow_is_read(image_tree: Path, suffix: str) -> None:
    name = image_tree / f"train/cat/image{suffix}"
    Image.new("1" if suffix == ".xbm" else "RGB", (6, 5)).save(name)
    source = ImageFolder(image_tree, image_size=4)
    assert source.train().labels.bincount().tolist() == [5, 4]
    assert not source.skipped


@pytest.mark.parametrize("suffix", [".pdf", ".eps", ".ps", ".mpg", ".h5", ".wmf", ".palm"])
def test_what_pillow_does_not_decode_to_pixels_is_no_image(suffix: str) -> None:
    assert suffix in Image.registered_extensions()
    assert suffix not in readable_suffixes()


def test_what_is_not_read_is_listed_and_counted(image_tree: Path, tmp_path: Path) -> None:
    left = {
        "train/cat/notes.TXT": "of suffix .txt",
        "train/cat/deep/more.txt": "of suffix .txt",
        "train/dog/clip.mp4": "of suffix .mp4",
        "train/dog/0001": "without suffix",
        "train/labels.csv": "of suffix .csv",
    }
    for name in (*left, "train/cat/.DS_Store", "train/cat/Thumbs.db", "train/dog/desktop.ini", "test/cat/a.svg"):
        (image_tree / name).parent.mkdir(exist_ok=True)
        (image_tree / name).write_text("x")
    source = ImageFolder(image_tree)
    source.train()
    assert source.skipped == left
    assert count_reasons(source.skipped) == "2 of suffix .txt, 1 without suffix, 1 of suffix .mp4, 1 of suffix .csv"
    source.test()
    assert source.skipped == left | {"test/cat/a.svg": "of suffix .svg"}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("around", ["", "set/"])
def test_folders_beside_the_two_are_named(image_tree: Path, tmp_path: Path, zipped: bool, around: str) -> None:
    root = tmp_path / "root"
    shutil.copytree(image_tree, root / around)
    shutil.copytree(image_tree / "test", root / around / "val")
    (root / around / "notes").mkdir()
    (root / around / ".cache").mkdir()
    (root / around / "README.txt").touch()
    source = ImageFolder(shutil.make_archive(str(tmp_path / "zip"), "zip", root) if zipped else root)
    source.train()
    assert sorted(source.skipped) == [f"{around}notes/", f"{around}val/"]
    assert f"1 folder {around}val/ beside train/ and test/" in count_reasons(source.skipped)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("suffix", "told"), [(".heic", "of suffix .heic"), (".npy", "of suffix .npy"), ("", "without suffix")]
)
def test_a_class_without_a_readable_suffix_says_so(image_tree: Path, split: str, suffix: str, told: str) -> None:
    for path in list((image_tree / split / "dog").iterdir()):
        path.rename(path.with_suffix(suffix))
    with pytest.raises(
        DataError, match=rf"class {split}/dog has no images that can be read, .*{told}; .*\.png"
    ) as caught:
        ImageFolder(image_tree).classes()
    assert "\n" not in str(caught.value)


def test_many_reasons_are_cut_short() -> None:
    frames = {f"train/cat/frame.{number}": f"of suffix .{number}" for number in range(100, 140)}
    assert count_reasons(frames).endswith("1 of suffix .104 and 35 more")


def test_the_content_counts_not_the_suffix(image_tree: Path) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image_tree / "train/cat/0.jpg", "BMP")
    assert np.array_equal(ImageFolder(image_tree).train().images[0].permute(1, 2, 0).numpy(), pixels)


def test_no_program_is_started_for_a_disguised_drawing(image_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called"))
    Image.new("RGB", (6, 5)).save(image_tree / "train/cat/0.png", "EPS")
    with pytest.raises(DataError, match="train/cat/0.png: it holds no image of a format that Pillow decodes; mend"):
        ImageFolder(image_tree).train()


def test_heic_is_read_where_its_decoder_is_installed(image_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self) -> None:
            self._mode, self._size = "RGB", (6, 5)
            self.tile = [ImageFile._Tile("raw", (0, 0, 6, 5), 4, ("RGB", 0, 1))]

    def register_heif_opener() -> None:
        Image.register_open("HEIF", Heif, lambda start: start[:4] == b"HEIF")
        Image.register_extension("HEIF", ".heic")

    (image_tree / "train/cat/0.heic").write_bytes(b"HEIF" + bytes([9] * 90))
    plugin = types.ModuleType("pillow_heif")
    plugin.register_heif_opener = register_heif_opener
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    for registry in ("ID", "OPEN", "EXTENSION"):  # what the plugin registers goes with the test
        monkeypatch.setattr(Image, registry, getattr(Image, registry).copy())
    _register_plugins.cache_clear()
    try:
        train = ImageFolder(image_tree).train()
    finally:
        _register_plugins.cache_clear()
    assert train.labels.bincount().tolist() == [5, 4]
    assert (train.images[0] == 9).all()
