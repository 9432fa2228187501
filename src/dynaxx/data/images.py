"""Labelled images in memory, the common format of all sources and consumers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dynaxx.data.errors import DataError

LABELS = {
    "classes": "int64 (N,), class numbers",
    "numbers": "float32 (N, K), K numbers an image",
    "masks": "uint8 (N, H, W), a class number a pixel",
}
"""Kind of the labels → how they are held."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """N images of one size with one label each: a class, numbers, or a mask.

    >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    >>> len(LabelledImages(images, torch.tensor([0, 1]), ("cat", "dog")))
    2
    >>> LabelledImages(images, torch.tensor([[0.5], [2.0]]), ("grain size",), groups=("beach 1", "beach 2")).kind
    'numbers'

    Raises:
        DataError: types, shapes, labels or names do not fit each other.
    """

    images: Tensor
    """Pixels, uint8 (N, C, H, W)."""
    labels: Tensor
    """Class numbers in [0, len(classes)), int64 (N,); or numbers, float32 (N, K); or masks, uint8 (N, H, W), of class
    numbers a pixel, 0 for the background."""
    classes: tuple[str, ...]
    """Distinct names in label order: of the classes, of the K numbers, or of the classes of the masks."""
    names: tuple[str, ...] = ()
    """Name of each image, for messages; () if they have none."""
    groups: tuple[str, ...] = ()
    """Group of each image, such as a patient or a place: splits keep groups whole; () if each stands for itself."""
    sources: dict[str, Tensor] = field(default_factory=dict)
    """Name → a further input of each image, such as a map of clicks, uint8 or float32 (N, c, H, W)."""
    regions: Tensor | None = None
    """Where an image's defects are, uint8 (N, H, W), 0 elsewhere; None if that is not known or not asked."""

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or 0 in self.images.shape[1:]:
            raise DataError(f"images must be uint8 of shape (N, C, H, W), got {_describe(self.images)}")
        self._check_labels()
        for what, values in (("names", self.names), ("groups", self.groups)):
            if values and len(values) != len(self):
                raise DataError(f"{what} must be as many as the images, {len(self)}, or (), got {len(values)}")
        count, size = len(self.images), tuple(self.images.shape[2:])
        for name, given in self.sources.items():
            fits = given.ndim == 4 and len(given) == count and given.shape[1] > 0 and tuple(given.shape[2:]) == size
            if not fits or given.dtype not in (torch.uint8, torch.float32):
                raise DataError(
                    f"sources[{name!r}] must be uint8 or float32 of shape ({count}, c, {size[0]}, {size[1]}), "
                    f"got {_describe(given)}"
                )
            if not given.isfinite().all():
                raise DataError(f"sources[{name!r}] must be finite")
        if self.regions is not None and not self._is_mask(self.regions):
            raise DataError(
                f"regions must be uint8 of shape ({count}, {size[0]}, {size[1]}), got {_describe(self.regions)}"
            )

    def _is_mask(self, given: Tensor) -> bool:
        return given.dtype == torch.uint8 and given.shape == (len(self.images), *self.images.shape[2:])

    def _check_labels(self) -> None:
        labels, count = self.labels, len(self.images)
        fits = (
            (labels.dtype == torch.int64 and labels.shape == (count,))
            or (labels.dtype == torch.float32 and labels.ndim == 2 and len(labels) == count)
            or self._is_mask(labels)
        )
        if not fits:
            height, width = self.images.shape[2:]
            raise DataError(
                f"labels must be int64 of shape ({count},), float32 of shape ({count}, K) or uint8 of shape "
                f"({count}, {height}, {width}), got {_describe(labels)}"
            )
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise DataError(f"classes must be distinct names, at least one, got {self.classes!r}")
        if self.kind == "numbers":
            if labels.shape[1] != len(self.classes):
                raise DataError(f"classes must name the {labels.shape[1]} numbers of a label, got {self.classes!r}")
            if not labels.isfinite().all():
                row = int((~labels.isfinite().all(1)).nonzero()[0])
                raise DataError(f"labels must be finite, got {labels[row].tolist()} for {self.name(row)}")
        elif labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
            raise DataError(
                f"labels must lie in [0, {len(self.classes)}), the number of classes, "
                f"got [{int(labels.min())}, {int(labels.max())}]"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kind(self) -> str:
        """What the labels are, one of LABELS: classes, numbers or masks."""
        return {torch.int64: "classes", torch.float32: "numbers", torch.uint8: "masks"}[self.labels.dtype]

    def subset(self, index: Tensor | Sequence[int]) -> "LabelledImages":
        """Copy the images with the numbers `index`: integers in [0, N), in any order, repeats allowed."""
        chosen = torch.as_tensor(index, dtype=torch.int64)
        if chosen.ndim != 1 or (len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self)):
            raise DataError(f"index must be a list of image numbers in [0, {len(self)}), got {_describe(chosen)}")
        return LabelledImages(
            self.images[chosen],
            self.labels[chosen],
            self.classes,
            names=tuple(self.names[number] for number in chosen.tolist()) if self.names else (),
            groups=tuple(self.groups[number] for number in chosen.tolist()) if self.groups else (),
            sources={name: given[chosen] for name, given in self.sources.items()},
            regions=None if self.regions is None else self.regions[chosen],
        )

    def name(self, number: int) -> str:
        """Name of the image with this number, or the number itself in words."""
        return self.names[number] if self.names else f"image {number}"


def _describe(tensor: Tensor) -> str:
    values = f" from {int(tensor.min())} to {int(tensor.max())}" if tensor.ndim == 1 and len(tensor) else ""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}{values}"
