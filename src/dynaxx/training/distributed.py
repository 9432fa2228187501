"""The rank of this process in a distributed run."""

import os


def rank_zero() -> bool:
    """Whether this process writes files, because it is the only process or the first one across all nodes.

    The rank is read from the environment, so it is known before torch's distributed package is initialised. torchrun
    and submitit set RANK, `srun` sets SLURM_PROCID, and Lightning sets LOCAL_RANK. NODE_RANK comes from the launcher.

    >>> rank_zero()  # in a run with one process
    True
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("NODE_RANK", "LOCAL_RANK"))


def barrier() -> None:
    """Wait for all processes of the run, so that they can read the files that the first one has written."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
