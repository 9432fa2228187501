"""The share of the data that each process of a distributed run takes.

The configured batch size counts the images of all processes together. Each of n processes takes batch_size / n images
per step. Number of steps, images per step and learning rate are the same as in a run with one process.
"""

from collections.abc import Iterator
from typing import Any

import torch.distributed as dist
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DistributedSampler, Sampler

from dynaxx.data.errors import DataError
from dynaxx.data.order import EpochOrder


def processes() -> int:
    """Number of processes that train together in a distributed run; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_batch(batch_size: int) -> int:
    """Number of images of a global batch that this process takes.

    >>> own_batch(64)  # with two processes
    32

    Raises:
        DataError: the batch size is not a multiple of the number of processes, so the mean gradient would weigh images
            differently.
    """
    if batch_size % processes():
        raise DataError(
            f"batch_size={batch_size} is that of all processes together, and {processes()} of them cannot share it "
            "evenly; give a multiple of their number"
        )
    return batch_size // processes()


def own_validation_batch(batch_size: int) -> int:
    """Images per validation batch of this process; validation sums over images, so uneven batches are fine."""
    return max(1, batch_size // processes())


def own_order(order: EpochOrder) -> Sampler[int]:
    """This process's part of a training order; the whole order if one process trains."""
    return order if processes() == 1 else _Part(order)


def own_images(dataset: Any) -> Sampler[int] | None:
    """This process's part of the validation images, each image in exactly one process; None with one process."""
    return None if processes() == 1 else UnrepeatedDistributedSampler(dataset, shuffle=False)


class _Part(DistributedSampler[int]):
    """Every n-th image of a training order, for n processes; the first ones are repeated until all shares are equal."""

    def __init__(self, order: EpochOrder) -> None:
        super().__init__(range(len(order)), shuffle=False)  # type: ignore[arg-type]
        self.order = order

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; Lightning calls this before each training epoch."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        draws = list(self.order)
        draws += draws[: -len(draws) % self.num_replicas]
        return iter(draws[self.rank :: self.num_replicas])
