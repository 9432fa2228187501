"""Real servers for tests: a PostgreSQL of the test run's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dynaxx.services import Postgres, ServicesError, postgres
from dynaxx.services.ports import free_port
from dynaxx.services.postgres import programs, remove_cluster


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
        remove_cluster(folder)
