"""Which process of a distributed run this is."""

import os


def rank_zero() -> bool:
    """Whether this process is the one that writes: the only one, or the first of all nodes.

    Known before anything distributed has begun: torchrun and submitit set RANK, `srun` SLURM_PROCID, and Lightning
    itself LOCAL_RANK, with NODE_RANK from whoever started it on several nodes.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("NODE_RANK", "LOCAL_RANK"))


def barrier() -> None:
    """Wait until all processes that train together are here: what the first one has written, the others may read."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
