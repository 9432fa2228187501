"""Small files in torchvision's own on-disk formats, read by torchvision's own classes."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynaxx.data import DataError, TorchvisionSet


def write_idx(root: Path, name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The four files of an MNIST-like set: 30 training and 20 test images of 28 x 28."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = {}
    for part, count in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())
        written[part] = images, labels
    return written


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_idx_files(tmp_path: Path, name: str) -> None:
    written = write_idx(tmp_path, name)
    source = TorchvisionSet(name, tmp_path)
    for part, got in (("train", source.train()), ("t10k", source.test())):
        images, labels = written[part]
        assert np.array_equal(got.images[:, 0].numpy(), images)
        assert got.images.shape[1] == 1
        assert np.array_equal(got.labels.numpy(), labels)
        assert got.classes == source.classes()
    assert len(source.classes()) == 10


def test_a_set_opened_by_split(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("valid", 1), ("test", 2)):
        for label, name in enumerate(("negative", "positive")):
            folder = tmp_path / "rendered-sst2" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (12, 10), (label * 100, number, 7)).save(folder / f"{number}.png")
    source = TorchvisionSet("RenderedSST2", tmp_path, image_size=8)
    train, test = source.train(), source.test()
    assert train.images.shape == (6, 3, 8, 8)
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.images[4].unique(dim=1).flatten().unique().tolist() == [1, 7, 100]
    assert train.classes == test.classes == ("negative", "positive")
    assert len(test) == 4


def test_sizes_that_differ(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "country211" / split / "AD"
        folder.mkdir(parents=True)
        for number in (4, 5):
            Image.new("RGB", (number, 4)).save(folder / f"{number}.png")
    with pytest.raises(DataError, match=r"Country211 train image 1 is 5 x 4 but .* image 0 is 4 x 4.*image_size"):
        TorchvisionSet("Country211", tmp_path).train()
    assert TorchvisionSet("Country211", tmp_path, image_size=4).classes() == ("AD",)


def test_train_leaves_test_images_closed(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST")
    (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte").write_bytes(b"not to be opened")
    assert len(TorchvisionSet("MNIST", tmp_path).train()) == 30


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.name must be one of .*CIFAR10.*MNIST.*got 'Imagenette9'"):
        TorchvisionSet("Imagenette9", tmp_path)
    with pytest.raises(DataError, match=r"data\.image_size"):
        TorchvisionSet("MNIST", tmp_path, image_size=-1)


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "SVHN", "STL10", "Flowers102"])
def test_missing_files(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"cannot open {name} at data.root=.*data.download=true") as caught:
        TorchvisionSet(name, tmp_path).train()
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST")
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot open MNIST"):
        TorchvisionSet("MNIST", tmp_path).train()
