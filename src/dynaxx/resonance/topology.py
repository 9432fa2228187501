"""Which couplings exist: those whose message can reach the output within T steps."""

from collections.abc import Collection
from typing import NamedTuple


class Pair(NamedTuple):
    """One coupling `C_lk`: what tap `target` (l) takes from tap `source` (k); both count from 0 in depth order."""

    target: int
    source: int


def live_pairs(taps: int, T: int, heard: Collection[int]) -> list[Pair]:
    """The couplings between `taps` taps that reach the output within `T` steps, grouped by source.

    A message into a tap that is heard at once needs one step. One into any other is heard a step later, by the
    messages out of that tap. Example: with three taps of which the last is heard, T=1 leaves the two couplings into
    it; from T=2 on all six live.

    Args:
        heard: taps whose change reaches the output in the step that makes it.
    """
    return [
        Pair(target, source)
        for source in range(taps)
        for target in range(taps)
        if target != source and (target in heard or T > 1)
    ]
