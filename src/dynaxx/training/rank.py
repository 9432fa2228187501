"""Which process of a distributed run this is."""

import os

import torch.distributed as dist


def rank_zero() -> bool:
    """Whether this process is the one that writes: the only one, or the first of several that Lightning started."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
