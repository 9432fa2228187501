"""TCP ports of this machine."""

import socket
import time
from collections.abc import Callable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANYWHERE = ("0.0.0.0", "::")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(host: str, port: int) -> bool:
    """Whether somebody listens."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def wait_for(ready: Callable[[], bool], alive: Callable[[], bool]) -> bool:
    """Look ten times a second until it is ready or no longer alive, however slow the machine; whether it is ready."""
    while not ready():
        if not alive():
            return False
        time.sleep(0.1)
    return True
