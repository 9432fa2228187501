"""torchvision's classification data sets, by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynaxx.data.decode import check_image_size, collect, to_array
from dynaxx.data.errors import DataError, one_line
from dynaxx.data.images import LabelledImages
from dynaxx.data.progress import track

_BY_TRAIN = ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS")
_GREY = ("FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS")
_BY_SPLIT = {
    "Country211": "train",
    "DTD": "train",
    "FGVCAircraft": "trainval",
    "Flowers102": "train",
    "Food101": "train",
    "GTSRB": "train",
    "OxfordIIITPet": "trainval",
    "PCAM": "train",
    "RenderedSST2": "train",
    "STL10": "train",
    "StanfordCars": "train",
    "SVHN": "train",
}
"""Data sets whose class takes split="..." instead of train=True or False -> name of their training part."""


@dataclass(frozen=True)
class TorchvisionSet:
    """A class of `torchvision.datasets` that has a training part, a test part and one label per image.

    >>> TorchvisionSet("CIFAR10", root="data", download=True).classes()[:2]
    ('airplane', 'automobile')

    Raises:
        DataError: at construction for an unknown name; in the methods if torchvision cannot open the data set.
    """

    name: str
    """torchvision's class name, such as CIFAR10."""
    root: str | Path
    """Folder that torchvision reads from and downloads to, its argument `root`."""
    download: bool = False
    """Whether torchvision may download missing files."""
    image_size: int | None = None
    """Height and width in pixels that images are resized to; None keeps the images' size."""

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        known = sorted((*_BY_TRAIN, *_BY_SPLIT))
        if self.name not in known:
            raise DataError(f"data.name must be one of torchvision's {', '.join(known)}, got {self.name!r}")

    def classes(self) -> tuple[str, ...]:
        """torchvision's class names, or the label numbers if the data set has no names."""
        return self._names(self._open(train=True))

    def train(self) -> LabelledImages:
        """The training images."""
        dataset = self._open(train=True)
        return self._read(dataset, "train", self._names(dataset))

    def test(self) -> LabelledImages:
        """The test images."""
        return self._read(self._open(train=False), "test", self.classes())

    def _open(self, train: bool) -> Any:
        from torchvision import datasets

        if self.name in _BY_TRAIN:
            part: dict[str, Any] = {"train": train}
        else:
            part = {"split": _BY_SPLIT[self.name] if train else "test"}
        try:
            return getattr(datasets, self.name)(root=str(self.root), download=self.download, **part)
        except MemoryError:
            raise
        except Exception as error:  # torchvision passes on the errors of its many readers
            raise DataError(
                f"torchvision cannot open {self.name} at data.root={self.root}: {one_line(error)}; "
                f"put its files there or set data.download=true"
            ) from error

    def _names(self, dataset: Any) -> tuple[str, ...]:
        names = getattr(dataset, "classes", None)
        if names is None:
            names = range(1 + max(int(dataset[index][1]) for index in range(len(dataset))))
        return tuple(str(name) for name in names)

    def _read(self, dataset: Any, split: str, classes: tuple[str, ...]) -> LabelledImages:
        images, labels, names = collect(self._decoded(dataset, split), len(dataset), self.root)
        return LabelledImages(images, labels, classes, names)

    def _decoded(self, dataset: Any, split: str) -> Iterator[tuple[str, int, np.ndarray]]:
        channels = 1 if self.name in _GREY else 3
        for index in track(range(len(dataset)), f"reading {self.name}, {split}"):
            name = f"{self.name} {split} image {index}"
            try:
                image, label = dataset[index]
            except (OSError, ValueError, SyntaxError) as error:
                raise DataError(f"cannot read {name} at {self.root}: {one_line(error)}") from error
            yield name, int(label), to_array(image, channels, self.image_size)
