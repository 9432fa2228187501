"""What each of several processes that train together takes of the data.

The batch size is that of all processes together: they take as many steps with as large batches as one process would,
and the learning rate stays what it is. Of n processes each takes batch_size / n images, together the same ones.
"""

from collections.abc import Iterator
from typing import Any

import torch.distributed as dist
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DistributedSampler, Sampler

from dynaxx.data.errors import DataError
from dynaxx.data.order import EpochOrder


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_batch(batch_size: int) -> int:
    """Images that this process takes of a batch of all.

    Raises:
        DataError: a batch that cannot be divided evenly, so that its mean gradient would weigh images differently.
    """
    if batch_size % processes():
        raise DataError(
            f"batch_size={batch_size} is that of all processes together, and {processes()} of them cannot share it "
            "evenly; give a multiple of their number"
        )
    return batch_size // processes()


def own_validation_batch(batch_size: int) -> int:
    """Images that this process judges at a time, where batches weigh nothing."""
    return max(1, batch_size // processes())


def own_order(order: EpochOrder) -> Sampler[int]:
    """This process's part of a training order; all of it where one process trains."""
    return order if processes() == 1 else _Part(order)


def own_images(dataset: Any) -> Sampler[int] | None:
    """This process's part of images to judge on, each in one process alone: a repeated one would count twice.

    None where one process judges.
    """
    return None if processes() == 1 else UnrepeatedDistributedSampler(dataset, shuffle=False)


class _Part(DistributedSampler[int]):
    """Every n-th draw of an order; the first ones are drawn again at the end until all processes have as many."""

    def __init__(self, order: EpochOrder) -> None:
        super().__init__(range(len(order)), shuffle=False)  # type: ignore[arg-type]
        self.order = order

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each training epoch."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        draws = list(self.order)
        draws += draws[: -len(draws) % self.num_replicas]
        return iter(draws[self.rank :: self.num_replicas])
