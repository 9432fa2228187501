"""Batches from a feature cache, with the same order and the same augmented views as in training on images."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynaxx import Anchors
from dynaxx.data import EpochOrder, draw_numbers, epoch_generator
from dynaxx.data.shares import own_batch, own_images, own_order, own_validation_batch
from dynaxx.training.cache.features import FeatureCache

Batch = tuple[Anchors, Tensor]


class _Cached(Dataset[Batch]):
    """Batches of cached activations: draw number `epoch * N + i` is image i in the view drawn for epoch `epoch`.

    Without a seed every image comes in the cache's first view, which is not augmented.
    """

    def __init__(self, data: "CachedData", index: Tensor, labels: Tensor, seed: int | None) -> None:
        self.data, self.index, self.labels, self.seed = data, index, labels, seed
        self.drawn: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, draws: list[int]) -> Batch:
        chosen = torch.tensor(draws) % len(self)
        index = self.index[chosen]
        return self.data.cache.anchors(self._views(draws[0] // len(self))[chosen], index), self.labels[chosen]

    def _views(self, epoch: int) -> Tensor:
        if self.seed is None:
            return torch.zeros(len(self), dtype=torch.long)
        if self.drawn is None or self.drawn[0] != epoch:
            self.drawn = epoch, draw_numbers(self.data.cache.views, len(self), epoch_generator(self.seed, epoch))
        return self.drawn[1]


class CachedData(pl.LightningDataModule):
    """Training and validation batches `(Anchors, labels (B,))` from one cache.

    In distributed training each process takes its share of every batch, see `dynaxx.data.shares`.

    >>> data = CachedData(lambda device: open_cache(...), train=(train_index, y), val=(val_index, val_y),
    ...                   batch_size=64, seed=0)

    Args:
        opened: function that opens the cache of all the task's images; a missing cache is built on the given device.
            Lightning calls the function when all processes of a run are ready, so that all processes take part.
        train: indices and labels of the training images.
        val: indices and labels of the validation images.
        batch_size: images per batch; the last, short batch is kept.
        seed: seed of the order of the images.
        then: function that is called once with this object after the cache is opened.
    """

    def __init__(
        self,
        opened: Callable[[torch.device], FeatureCache],
        train: tuple[Tensor, Tensor],
        val: tuple[Tensor, Tensor],
        batch_size: int,
        seed: int,
        then: Callable[["CachedData"], None] = lambda data: None,
    ) -> None:
        super().__init__()
        self.opened, self.then = opened, then
        self.train_set = _Cached(self, *train, seed)
        self.val_set = _Cached(self, *val, seed=None)
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

    def train_dataloader(self) -> DataLoader[Batch]:
        order = own_order(EpochOrder(len(self.train_set), self.seed))
        return DataLoader(self.train_set, own_batch(self.batch_size), sampler=order, collate_fn=_as_is)

    def val_dataloader(self) -> DataLoader[Batch]:
        own = own_images(self.val_set)
        return DataLoader(self.val_set, own_validation_batch(4 * self.batch_size), sampler=own, collate_fn=_as_is)

    def pooled_batches(self) -> Iterator[list[Tensor]]:
        """Batches of the training images' pooled activations in all views, for the standardisation statistics."""
        for start in range(0, len(self.train_set), 1024):
            index = self.train_set.index[start : start + 1024]
            for view in range(self.cache.views):
                yield self.cache.anchors(torch.full_like(index, view), index).pooled

    def _open(self, device: torch.device) -> FeatureCache:
        if self._cache is None:
            self._cache = self.opened(device)
            started = time.perf_counter()
            self.then(self)
            self.seconds = self._cache.seconds + time.perf_counter() - started
        return self._cache


def _as_is(batch: Any) -> Any:
    return batch
