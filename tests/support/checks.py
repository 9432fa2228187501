"""Checks that many tests make: an error of one line, and work in several threads."""

import threading
from collections.abc import Callable, Iterable

import pytest

from dynaxx import ResonanceError


def refused(run: Callable[[], object], *says: str) -> None:
    """It raises a ResonanceError in one line that says all of this."""
    with pytest.raises(ResonanceError) as caught:
        run()
    assert "\n" not in str(caught.value)
    for part in says:
        assert part in str(caught.value)


def in_threads(work: Callable[..., None], items: Iterable[object]) -> None:
    """Do the work on each item in a thread of its own, and wait for all."""
    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
