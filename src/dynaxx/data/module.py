"""The LightningDataModule over labelled images."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynaxx.data.augment import apply_versions, check_augmentation, draw_versions
from dynaxx.data.errors import DataError
from dynaxx.data.images import LabelledImages
from dynaxx.data.normalise import Normalisation, normalise
from dynaxx.data.order import EpochOrder, epoch_generator
from dynaxx.data.shares import own_batch, own_images, own_order, own_validation_batch
from dynaxx.data.targets import targets_of

__all__ = ["ImageData", "normalise"]


class ImageData(pl.LightningDataModule):
    """Batches (x, y): x float32 normalised (B, C, H, W), y int64 (B,); the last, short batch is kept.

    Where the labels are numbers, y is float32 (B, K); where they are masks, int64 (B, H, W). Images with sources come
    as (x, y, sources): name → float32 (B, c, H, W). Masks and sources are augmented as their images are.

    Training order and augmentation depend only on `seed`, epoch and image number. An image is therefore augmented alike
    in a resumed run, at another batch size, and with another number of workers. Each new iteration of the training
    loader is the next epoch, unless Lightning sets the epoch itself. In distributed training each
    process takes its share of every batch, see `dynaxx.data.shares`.

    >>> data = ImageData(train, val, normalisation=Normalisation((0.5,), (0.25,)), batch_size=64, augmentation="flip")
    >>> x_BCHW, y_B = next(iter(data.train_dataloader()))

    Raises:
        DataError: an empty part, parts of different image shape or classes, or an option out of range.
    """

    def __init__(
        self,
        train: LabelledImages,
        val: LabelledImages,
        *,
        normalisation: Normalisation,
        batch_size: int,
        augmentation: str = "none",
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, part in (("training", train), ("validation", val)):
            if len(part) == 0:
                raise DataError(f"the {name} part has no images")
        if train.classes != val.classes or train.images.shape[1:] != val.images.shape[1:]:
            raise DataError("training and validation parts must have the same classes and image shape")
        if batch_size < 1 or num_workers < 0 or seed < 0:
            raise DataError(
                f"batch_size must be at least 1, num_workers and seed at least 0, "
                f"got {batch_size}, {num_workers} and {seed}"
            )
        check_augmentation(augmentation)
        if train.kind != val.kind or train.sources.keys() != val.sources.keys():
            raise DataError("training and validation parts must have the same kind of labels and the same sources")
        if augmentation == "dihedral" and train.images.shape[-2] != train.images.shape[-1]:
            shape = tuple(train.images.shape[-2:])
            raise DataError(f"augmentation dihedral needs square images, got {shape}; set data.image_size")
        normalise(train.images[:1], normalisation)  # a wrong normalisation raises here, not in a worker
        self._train = _Augmented(train, normalisation, augmentation, seed)
        self._val = _Augmented(val, normalisation, "none", seed)
        self._seed = seed
        self._batch_size = batch_size
        self._options: dict[str, Any] = {"num_workers": num_workers, "collate_fn": _as_is}

    def train_dataloader(self) -> DataLoader:
        """Shuffled, augmented batches of the training images."""
        order = EpochOrder(len(self._train), self._seed)
        return DataLoader(self._train, own_batch(self._batch_size), sampler=own_order(order), **self._options)

    def val_dataloader(self) -> DataLoader:
        """Batches of the validation images, unshuffled and unaugmented."""
        size = own_validation_batch(self._batch_size)
        return DataLoader(self._val, size, shuffle=False, sampler=own_images(self._val), **self._options)


class _Augmented(Dataset[tuple[Any, ...]]):
    """Batches of augmented images: draw number `epoch * N + i` is the random version of image i in that epoch."""

    def __init__(
        self,
        data: LabelledImages,
        normalisation: Normalisation,
        augmentation: str,
        seed: int,
    ) -> None:
        self.data, self.normalisation = data, normalisation
        self.augmentation, self.seed = augmentation, seed
        self.image_size = min(data.images.shape[-2:])
        self.versions: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, draws: list[int]) -> tuple[Any, ...]:
        index = torch.tensor(draws) % len(self)
        images = self.data.images[index]
        versions = None if self.augmentation == "none" else self._versions(draws[0] // len(self))[index]
        if versions is not None:
            images = apply_versions(images, versions, self.image_size)
        y, sources = targets_of(self.data, index, versions)
        x = normalise(images, self.normalisation)
        return (x, y, sources) if sources else (x, y)

    def _versions(self, epoch: int) -> Tensor:
        if self.versions is None or self.versions[0] != epoch:
            generator = epoch_generator(self.seed, epoch)
            self.versions = epoch, draw_versions(self.augmentation, len(self), self.image_size, generator)
        return self.versions[1]


def _as_is(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    return batch
