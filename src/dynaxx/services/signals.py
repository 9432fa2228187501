"""The end of a process by a signal."""

import signal
from typing import NoReturn


def interrupt_on_sigterm() -> None:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that servers are stopped and runs are ended.

    A handler that is set already stays: a cluster's job may have its own.

    >>> interrupt_on_sigterm()
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt
