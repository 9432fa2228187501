"""Batches from a feature cache, with the same order and the same augmented views as in training on images."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynaxx import Anchors, ResonantModel
from dynaxx.data import EpochOrder, LabelledImages, draw_numbers, epoch_generator, targets_of, versions
from dynaxx.data.shares import own_batch, own_images, own_order, own_validation_batch
from dynaxx.training.cache.features import FeatureCache

Batch = tuple[Anchors, Tensor]

LARGEST = 256
"""Number of images of a batch of `training_batches`."""


class _Cached(Dataset[Batch]):
    """Batches of cached activations: draw number `epoch * N + i` is image i in the view drawn for epoch `epoch`.

    Without a seed every image comes in the cache's first view, which is not augmented.
    """

    def __init__(self, data: "CachedData", index: Tensor, seed: int | None) -> None:
        self.data, self.index, self.seed = data, index, seed
        self.drawn: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, draws: list[int]) -> Batch:
        chosen = torch.tensor(draws) % len(self)
        return self.data.batch(self._views(draws[0] // len(self))[chosen], self.index[chosen])

    def _views(self, epoch: int) -> Tensor:
        if self.seed is None:
            return torch.zeros(len(self), dtype=torch.long)
        if self.drawn is None or self.drawn[0] != epoch:
            self.drawn = epoch, draw_numbers(self.data.cache.views, len(self), epoch_generator(self.seed, epoch))
        return self.drawn[1]


class CachedData(pl.LightningDataModule):
    """Training and validation batches `(Anchors, labels)` from one cache; anchors hold the sources of their images.

    In distributed training each process takes its share of every batch, see `dynaxx.data.shares`.

    >>> data = CachedData(model, lambda device: open_cache(...), images, train, val, augmentation="flip",
    ...                   batch_size=64, seed=0)

    Args:
        model: the model that is trained.
        opened: function that opens the cache of all the task's images; a missing cache is built on the given device.
            Lightning calls the function when all processes of a run are ready, so that all processes take part.
        images: all labelled images of the task.
        train: indices of the training images.
        val: indices of the validation images.
        augmentation: the augmentation whose versions are the views of the cache.
        batch_size: images per batch; the last, short batch is kept.
        seed: seed of the order of the images.
        then: function that is called once with this object after the cache is opened.
    """

    def __init__(
        self,
        model: ResonantModel,
        opened: Callable[[torch.device], FeatureCache],
        images: LabelledImages,
        train: Tensor,
        val: Tensor,
        *,
        augmentation: str,
        batch_size: int,
        seed: int,
        then: Callable[["CachedData"], None] = lambda data: None,
    ) -> None:
        super().__init__()
        self.model, self.opened, self.images, self.then = model, opened, images, then
        self.versions = versions(augmentation, min(images.images.shape[-2:]))
        self.train_set = _Cached(self, train, seed)
        self.val_set = _Cached(self, val, seed=None)
        self.batch_size, self.seed = batch_size, seed
        self.seconds = 0.0
        """Seconds spent on building the cache, in any process, and on the call of `then`."""
        self._cache: FeatureCache | None = None

    @property
    def cache(self) -> FeatureCache:
        """The cache; a cache that is not open yet is opened on the CPU."""
        return self._open(torch.device("cpu"))

    def setup(self, stage: str) -> None:
        """Open the cache; Lightning calls this method in every process."""
        del stage
        self._open(self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu"))

    def batch(self, view: Tensor, index: Tensor) -> Batch:
        """Anchors and labels of images; sample i is image `index[i]` in view `view[i]`."""
        anchors = self.cache.anchors(view, index)
        labels, sources = targets_of(self.images, index, self.versions[view] if self._moves else None)
        if self.model.config.sources:
            anchors = self.model.with_sources(anchors, sources)
        return anchors, labels

    @property
    def _moves(self) -> bool:
        """Whether there is a version besides the image as it is."""
        return len(self.versions) > 1

    def train_dataloader(self) -> DataLoader[Batch]:
        order = own_order(EpochOrder(len(self.train_set), self.seed))
        return DataLoader(self.train_set, own_batch(self.batch_size), sampler=order, collate_fn=_as_is)

    def val_dataloader(self) -> DataLoader[Batch]:
        own = own_images(self.val_set)
        return DataLoader(self.val_set, own_validation_batch(4 * self.batch_size), sampler=own, collate_fn=_as_is)

    def training_batches(self, most: int | None = None) -> Iterator[Batch]:
        """Batches of the training images in all views, or in the first `most` of them, view after view."""
        yield from self._batches(self.train_set, range(min(self.cache.views, most or self.cache.views)))

    def validation_batches(self) -> Iterator[Batch]:
        """Batches of the validation images as they are."""
        yield from self._batches(self.val_set, range(1))

    def _batches(self, part: _Cached, views: Iterable[int]) -> Iterator[Batch]:
        for view in views:
            for index in part.index.split(LARGEST):
                yield self.batch(torch.full_like(index, view), index)

    def _open(self, device: torch.device) -> FeatureCache:
        if self._cache is None:
            self._cache = self.opened(device)
            started = time.perf_counter()
            self.then(self)
            self.seconds = self._cache.seconds + time.perf_counter() - started
        return self._cache


def _as_is(batch: Any) -> Any:
    return batch
