"""Seconds are counted once: for the innermost block that names what they were spent on."""

import threading
import time

import pytest

from dynaxx import spent as clock
from dynaxx.spent import seconds, spent, told


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """A clock that stands until it is set."""
    at = [0.0]
    monkeypatch.setattr(clock, "_SPENT", clock._Spent())
    monkeypatch.setattr(time, "perf_counter", lambda: at[0])
    return at


def test_an_inner_block_takes_its_seconds_from_the_outer_one(now):
    with spent("training"):
        now[0] += 1
        with spent("backbone"):
            now[0] += 10
            with spent("fitting"):
                now[0] += 100
        with spent("backbone"):
            now[0] += 1000
        now[0] += 10000
    assert seconds() == {"training": 10001, "backbone": 1010, "fitting": 100}


def test_a_block_that_fails_counts_and_leaves_none_open(now):
    def fails():
        with spent("training"), spent("backbone"):
            now[0] += 2
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with spent("fitting"):
        now[0] += 3
    assert seconds() == {"training": 0, "backbone": 2, "fitting": 3}


def test_a_name_within_itself_counts_once(now):
    with spent("backbone"):
        now[0] += 1
        with spent("backbone"):
            now[0] += 2
    assert seconds() == {"backbone": 3}


def test_threads_count_for_themselves(now):
    found = []

    def other():
        with spent("backbone"):
            now[0] += 5
        found.append(seconds())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [{"backbone": 5}]
    assert seconds() == {}


def test_parts_below_a_second_are_left_out_and_the_rest_is_said():
    assert (
        told(92.4, {"training": 12.0, "backbone": 61.2, "fitting": 0.1}) == "92 s: backbone 61, training 12, other 19"
    )
    assert told(12.0, {"training": 11.9}) == "12 s: training 12"
    assert told(3.2, {}) == "3 s"
    assert told(0.2, {"backbone": 0.2}) == "0 s"
