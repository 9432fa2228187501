"""Real servers for tests: a PostgreSQL of the test run's own, and free ports for them."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dynaxx.services import Postgres, ServicesError, postgres
from dynaxx.services.postgres import _data_folder, programs


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def real_postgres(folder: Path, *databases: str, port: int = 0) -> Iterator[Postgres]:
    """A server in `folder` that is gone afterwards; skips where PostgreSQL is not installed."""
    try:
        programs()
    except ServicesError as error:
        pytest.skip(str(error))
    try:
        with postgres(folder, port or free_port(), databases) as server:
            yield server
    finally:
        shutil.rmtree(_data_folder(folder), ignore_errors=True)
