"""The MLflow tracking server. Runs are stored in a database, and artifacts pass through the server.

`mlflow_ui` is the same server on loopback, for looking at a store whose artifacts lie where this machine reads them. A
login is required unless the server listens on loopback alone.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dynaxx.services.errors import ServicesError
from dynaxx.services.ports import ALL_INTERFACES, LOOPBACK, is_listening, wait_for
from dynaxx.services.secrets import secret, write_private

ADMIN = "admin"


@dataclass(frozen=True)
class MLflowServer:
    """A running MLflow server.

    >>> os.environ["MLFLOW_TRACKING_URI"] = server.uri

    Attributes:
        uri: value for MLFLOW_TRACKING_URI.
        password: password of the user `admin`; None for a server on loopback, which needs no login.
    """

    uri: str
    password: str | None


@contextmanager
def mlflow_server(
    folder: Path, store: str, port: int, host: str = "127.0.0.1", logins: str | None = None, options: Sequence[str] = ()
) -> Iterator[MLflowServer]:
    """Start `mlflow server`, wait until it listens or has ended, and stop it at the end.

    >>> with mlflow_server(Path("services/mlflow"), "sqlite:///mlflow.db", 5000) as server:
    ...     print(server.uri)
    http://127.0.0.1:5000

    Args:
        folder: folder for artifacts, log and passwords.
        store: URL of the database of runs; several workers need PostgreSQL.
        port: TCP port to listen on.
        host: address to listen on.
        logins: URL of the database of users, for a host other than loopback; None: a SQLite file in `folder`.
        options: further command-line options of `mlflow server`, such as `--allowed-hosts=…`.

    Raises:
        ServicesError: the port is in use, or the server does not start.
    """
    local = host in LOOPBACK
    reached = "127.0.0.1" if local or host in ALL_INTERFACES else host
    _require_free(reached, port)
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--workers", "2", "--artifacts-destination", (folder / "artifacts").resolve().as_uri(), *options]
    environment: dict[str, str] = {}
    password = None
    if not local:
        password = secret(folder / "admin-password")
        users = logins or f"sqlite:///{(folder / 'users.db').resolve()}"
        write_private(folder / "basic_auth.ini", _LOGIN.format(users=users.replace("%", "%%"), admin=ADMIN))
        options += ["--app-name", "basic-auth"]
        environment = {
            "MLFLOW_AUTH_CONFIG_PATH": str((folder / "basic_auth.ini").resolve()),
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(folder / "session-key"),
        }
    with (
        open(folder / "mlflow.log", "a") as log,
        _started(["server", "--host", host, "--port", str(port), *options], store, environment, log) as process,
    ):
        if not wait_for(lambda: is_listening(reached, port), lambda: process.poll() is None):
            raise ServicesError(f"the MLflow server did not start; {folder / 'mlflow.log'} says why")
        yield MLflowServer(f"http://{reached}:{port}", password)


@contextmanager
def mlflow_ui(store: str, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    """Start `mlflow ui` on loopback, with its output on this terminal, and stop it at the end.

    >>> with mlflow_ui("sqlite:////data/mlflow.db", 5000) as process:
    ...     process.wait()

    Raises:
        ServicesError: the port is in use.
    """
    _require_free("127.0.0.1", port)
    with _started(["ui", "--host", "127.0.0.1", "--port", str(port)], store) as process:
        yield process


def _require_free(host: str, port: int) -> None:
    if is_listening(host, port):
        raise ServicesError(f"port {port} of {host} is taken; give another one")


@contextmanager
def _started(
    arguments: Sequence[str], store: str, environment: Mapping[str, str] | None = None, log: IO[str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """Start one of MLflow's servers in a session of its own, and stop it and its workers at the end."""
    inherited = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    own = {
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        "MLFLOW_BACKEND_STORE_URI": store,  # not on the command line, which every user can read
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else it starts processes for MLflow's judges of traces
    }
    command = [sys.executable, "-m", "mlflow", *arguments]
    process = subprocess.Popen(
        command, env=inherited | own | dict(environment or {}), stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield process
    finally:
        _stop(process)


_LOGIN = """[mlflow]
default_permission = READ
database_uri = {users}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""
"""Configuration of logins. A login is cached for a minute, because hashing at every request would dominate the time."""


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server and its worker processes, which would otherwise go on running."""
    import psutil

    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(family, timeout=10)
    for member in alive:
        member.kill()
    process.wait()
