"""Batches from a feature cache: the same order and the same views as live training on the images would draw."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynaxx.data import EpochOrder, draw_numbers, epoch_generator
from dynaxx.resonance import Anchors
from dynaxx.training.feature_cache import FeatureCache

Batch = tuple[Anchors, Tensor]


class _Cached(Dataset[Batch]):
    """Whole batches of draws: number `epoch * N + i` is image i in the view that epoch draws for it.

    Without a seed every image is seen as it is, in the cache's first view.
    """

    def __init__(self, cache: FeatureCache, index: Tensor, labels: Tensor, seed: int | None) -> None:
        self.cache, self.index, self.labels, self.seed = cache, index, labels, seed
        self.drawn: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, draws: list[int]) -> Batch:
        chosen = torch.tensor(draws) % len(self)
        index = self.index[chosen]
        return self.cache.anchors(self._views(draws[0] // len(self))[chosen], index), self.labels[chosen]

    def _views(self, epoch: int) -> Tensor:
        if self.seed is None:
            return torch.zeros(len(self), dtype=torch.long)
        if self.drawn is None or self.drawn[0] != epoch:
            self.drawn = epoch, draw_numbers(self.cache.views, len(self), epoch_generator(self.seed, epoch))
        return self.drawn[1]


class CachedData(pl.LightningDataModule):
    """Train and validation batches `(Anchors, labels (B,))` from one cache.

    Args:
        cache: of all the task's images.
        train: numbers of the images to train on, and their labels.
        val: the same for validation.
        batch_size: images a batch; the last, short one is kept.
        seed: of the order.
    """

    def __init__(
        self,
        cache: FeatureCache,
        train: tuple[Tensor, Tensor],
        val: tuple[Tensor, Tensor],
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.train_set = _Cached(cache, *train, seed)
        self.val_set = _Cached(cache, *val, seed=None)
        self.batch_size, self.seed = batch_size, seed

    def train_dataloader(self) -> DataLoader[Batch]:
        sampler = EpochOrder(len(self.train_set), self.seed)
        return DataLoader(self.train_set, self.batch_size, sampler=sampler, collate_fn=_as_is)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.val_set, 4 * self.batch_size, collate_fn=_as_is)

    def pooled_batches(self) -> Iterator[list[Tensor]]:
        """The training images' anchors in all views, for the statistics."""
        for start in range(0, len(self.train_set), 1024):
            index = self.train_set.index[start : start + 1024]
            for view in range(self.train_set.cache.views):
                yield self.train_set.cache.anchors(torch.full_like(index, view), index).pooled


def _as_is(batch: Any) -> Any:
    return batch
