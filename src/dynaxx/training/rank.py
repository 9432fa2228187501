"""Which process of a distributed run this is."""

import os


def rank_zero() -> bool:
    """Whether this process is the one that writes: the only one, or the first of several that Lightning started."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
