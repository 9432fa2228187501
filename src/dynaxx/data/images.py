"""Labelled images in memory, the common format of all sources and consumers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx.data.errors import DataError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """N images of one size with one label each.

    >>> len(LabelledImages(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 1]), ("cat", "dog")))
    2

    Raises:
        DataError: types, shapes, labels or class names do not fit each other.
    """

    images: Tensor
    """Pixels, uint8 (N, C, H, W)."""
    labels: Tensor
    """Class numbers in [0, len(classes)), int64 (N,)."""
    classes: tuple[str, ...]
    """Distinct class names in label order."""
    names: tuple[str, ...] = ()
    """Name of each image, for messages; () if they have none."""

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or 0 in self.images.shape[1:]:
            raise DataError(f"images must be uint8 of shape (N, C, H, W), got {_describe(self.images)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(f"labels must be int64 of shape ({len(self.images)},), got {_describe(self.labels)}")
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise DataError(f"classes must be distinct names, at least one, got {self.classes!r}")
        if self.names and len(self.names) != len(self):
            raise DataError(f"names must be as many as the images, {len(self)}, or (), got {len(self.names)}")
        if len(self) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise DataError(
                f"labels must lie in [0, {len(self.classes)}), the number of classes, "
                f"got [{int(self.labels.min())}, {int(self.labels.max())}]"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: Tensor | Sequence[int]) -> "LabelledImages":
        """Copy the images with the numbers `index`: integers in [0, N), in any order, repeats allowed."""
        chosen = torch.as_tensor(index, dtype=torch.int64)
        if chosen.ndim != 1 or (len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(self)):
            raise DataError(f"index must be a list of image numbers in [0, {len(self)}), got {_describe(chosen)}")
        names = tuple(self.names[number] for number in chosen.tolist()) if self.names else ()
        return LabelledImages(self.images[chosen], self.labels[chosen], self.classes, names)

    def name(self, number: int) -> str:
        """Name of the image with this number, or the number itself in words."""
        return self.names[number] if self.names else f"image {number}"


def _describe(tensor: Tensor) -> str:
    values = f" from {int(tensor.min())} to {int(tensor.max())}" if tensor.ndim == 1 and len(tensor) else ""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}{values}"
