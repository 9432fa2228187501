"""The order of training images depends on seed and epoch alone, so a resumed run continues with the same order."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """A new seeded order of N images per epoch; each image is given as its draw number, epoch * N + image number."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each training epoch, also in a resumed run."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = torch.randperm(self.count, generator=epoch_generator(self.seed, epoch))
        return iter((epoch * self.count + order).tolist())


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The random generator for one epoch, from the seed and the epoch's number."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
