"""The order of training images, a function of seed and epoch alone, so that a resumed run continues identically."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """A new seeded order per epoch, as draw numbers: epoch * N + image number."""

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
    """The random generator of one epoch of one seed."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
