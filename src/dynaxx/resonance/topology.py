"""Which couplings exist: those whose message can reach the output within T steps."""

from typing import NamedTuple


class Pair(NamedTuple):
    """One coupling `C_lk`: what tap `target` (l) takes from tap `source` (k); both count from 0 in depth order."""

    target: int
    source: int


def live_pairs(taps: int, T: int) -> list[Pair]:
    """The couplings between `taps` taps that reach the last one within `T` steps, grouped by source.

    A message into tap l is heard by the messages that read l one step later, so C_lk needs as many steps as l is
    away from the output, plus one. Example: with three taps and T=1 only the two couplings into the last tap live;
    from T=2 on all six do.
    """
    steps = {taps - 1: 1}
    frontier = [taps - 1]
    while frontier:
        target = frontier.pop(0)
        for source in range(taps):
            if source not in steps:
                steps[source] = steps[target] + 1
                frontier.append(source)
    return [
        Pair(target, source)
        for source in range(taps)
        for target in range(taps)
        if target != source and steps[target] <= T
    ]
