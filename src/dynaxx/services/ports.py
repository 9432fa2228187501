"""TCP ports of this machine."""

import socket
import time
from collections.abc import Callable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ALL_INTERFACES = ("0.0.0.0", "::")


def is_listening(host: str, port: int) -> bool:
    """Whether a process of this machine listens on the TCP port `port`."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def wait_for(ready: Callable[[], bool], alive: Callable[[], bool]) -> bool:
    """Poll ten times per second until `ready()` or not `alive()`, without time limit; return whether `ready()` held."""
    while not ready():
        if not alive():
            return False
        time.sleep(0.1)
    return True
