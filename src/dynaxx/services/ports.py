"""TCP ports of this machine."""

import socket
import time
from collections.abc import Callable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANYWHERE = ("0.0.0.0", "::")


def answers(host: str, port: int) -> bool:
    """Whether somebody listens."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def wait_for(ready: Callable[[], bool], alive: Callable[[], bool], seconds: float) -> bool:
    """Look ten times a second until it is ready, is no longer alive, or the time is up; whether it is ready."""
    until = time.monotonic() + seconds
    while not ready():
        if not alive() or time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
