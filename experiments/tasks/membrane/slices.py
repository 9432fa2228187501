"""Microscope slices with one label per pixel: a reader, and batches of random crops."""

import io
import zipfile
from pathlib import Path, PurePosixPath

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from dynaxx.data import DataError, Normalisation, epoch_generator, normalise

Batch = tuple[Tensor, Tensor]

BLOCK = 16
"""Height and width in pixels of the blocks whose share of membrane the backbone predicts."""


def read_slices(path: Path) -> tuple[Tensor, Tensor]:
    """Read images, uint8 (N, 1, H, W), and labels, int64 (N, H, W) with 1 for membrane, in the order of their numbers.

    >>> images, labels = read_slices(Path("slices.zip"))

    Raises:
        DataError: not a zip with image/K.png and label/K.png in some folder, or images of different sizes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name for name in map(PurePosixPath, archive.namelist()) if name.parent.name == "image"]
            found = sorted((name for name in found if name.suffix == ".png"), key=lambda name: int(name.stem))
            images = [_pixels(archive.read(str(name))) for name in found]
            labels = [_pixels(archive.read(str(name.parent.with_name("label") / name.name))) for name in found]
        if not found:
            raise ValueError("it has no image/K.png")
        if len({part.shape for part in (*images, *labels)}) > 1:
            raise ValueError("images and labels are not all of one size")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no .zip of image/K.png and label/K.png ({error})") from None
    # the labels are white inside the cells and black on their membranes
    return torch.stack(images)[:, None], (torch.stack(labels) < 128).long()


def _pixels(data: bytes) -> Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("L")))


def density(labels: Tensor) -> Tensor:
    """Class of each pixel by its block's share of membrane: lowest, middle or highest third, int64 (N, H, W).

    >>> density(labels).unique()
    tensor([0, 1, 2])

    Raises:
        DataError: a height or width that is not a multiple of the block's.
    """
    if labels.shape[1] % BLOCK or labels.shape[2] % BLOCK:
        raise DataError(f"slices of {labels.shape[1]} x {labels.shape[2]} pixels; both must be multiples of {BLOCK}")
    share = F.avg_pool2d(labels[:, None].float(), BLOCK)
    low, high = torch.quantile(share.flatten(), torch.tensor([1 / 3, 2 / 3]))
    third = (share > low).long() + (share > high).long()
    return third.repeat_interleave(BLOCK, 2).repeat_interleave(BLOCK, 3)[:, 0]


class Crops(Dataset[Batch]):
    """`count` random crops, rotated and mirrored, the same in every epoch; they depend on the seed alone."""

    def __init__(self, images: Tensor, labels: Tensor, size: int, count: int, seed: int) -> None:
        self.images, self.labels, self.size, self.count, self.seed = images, labels, size, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Batch:
        generator = epoch_generator(self.seed, number)
        which, top, left, turns, mirrored = (
            int(torch.randint(high, (), generator=generator))
            for high in (len(self.images), *(s - self.size + 1 for s in self.images.shape[-2:]), 4, 2)
        )
        window = (..., slice(top, top + self.size), slice(left, left + self.size))
        parts = [part[which][window].rot90(turns, (-2, -1)) for part in (self.images, self.labels)]
        x, y = (part.flip(-1) if mirrored else part for part in parts)
        return x, y


class SliceData(pl.LightningDataModule):
    """Batches (x float32 (B, 1, H, W), y int64 (B, H, W)): crops for training, whole slices for validation."""

    def __init__(
        self, train: Batch, val: Batch, normalisation: Normalisation, *, size: int, count: int, batch: int, seed: int
    ) -> None:
        super().__init__()
        self.crops, self.val = Crops(*train, size, count, seed), val
        self.normalisation, self.batch = normalisation, batch

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.crops, self.batch, shuffle=False, collate_fn=self._collate)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return DataLoader(TensorDataset(*self.val), 1, collate_fn=self._collate)

    def _collate(self, samples: list[Batch]) -> Batch:
        x, y = (torch.stack(parts) for parts in zip(*samples, strict=True))
        return normalise(x, self.normalisation), y
