"""Where the seconds of this process went: blocks of code name what they do, and stages print the sums."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

BACKBONE, FITTING, TRAINING = "backbone", "fitting", "training"
"""Passes of the frozen backbone; converged fits; epochs of training."""
ANSWERING, LOOKING, TIMING = "answering", "looking inside", "timing"
"""Outputs for samples; measurements and pictures of the loop; measured latency and throughput."""


class _Spent(local):
    """The seconds of one thread by name, and those of inner blocks that end within each open block."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.inner: list[float] = []


_SPENT = _Spent()


@contextmanager
def spent(what: str) -> Iterator[None]:
    """Count the seconds of the block as spent on `what`; those of a named block inside it count as its own alone.

    >>> with spent("training"):
    ...     with spent("backbone"):
    ...         pass
    >>> sorted(seconds())
    ['backbone', 'training']
    """
    started = time.perf_counter()
    _SPENT.inner.append(0.0)
    try:
        yield
    finally:
        whole = time.perf_counter() - started
        own = whole - _SPENT.inner.pop()
        _SPENT.seconds[what] = _SPENT.seconds.get(what, 0.0) + own
        if _SPENT.inner:
            _SPENT.inner[-1] += whole


def seconds() -> dict[str, float]:
    """Seconds by what they were spent on, in this thread, since it began."""
    return dict(_SPENT.seconds)


def told(whole: float, parts: dict[str, float]) -> str:
    """A duration and its parts of a second or more, the longest first.

    >>> told(92.4, {"training": 12.0, "backbone": 61.2, "fitting": 0.1})
    '92 s: backbone 61, training 12, other 19'
    """
    large = {what: part for what, part in parts.items() if round(part) >= 1}
    shown = dict(sorted(large.items(), key=lambda one: -one[1]))
    rest = whole - sum(shown.values())
    if shown and round(rest) >= 1:
        shown["other"] = rest
    details = ", ".join(f"{what} {part:.0f}" for what, part in shown.items())
    return f"{whole:.0f} s" + (f": {details}" if details else "")
