"""The MLflow tracking server. Runs are stored in a database, and artifacts pass through the server.

A login is required unless the server listens on loopback alone.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dynaxx.services.errors import ServicesError
from dynaxx.services.ports import ALL_INTERFACES, LOOPBACK, is_listening, wait_for
from dynaxx.services.secrets import secret, write_private

ADMIN = "admin"
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Environment variables that keep the server from starting processes for MLflow's own jobs (judges of traces)."""


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
    if is_listening(reached, port):
        raise ServicesError(f"port {port} of {reached} is taken; give another one")
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        "MLFLOW_BACKEND_STORE_URI": store,  # not on the command line, which every user can read
        **NO_JOBS,
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "2",
               "--artifacts-destination", (folder / "artifacts").resolve().as_uri(), *options]  # fmt: skip
    password = None
    if not local:
        password = secret(folder / "admin-password")
        users = logins or f"sqlite:///{(folder / 'users.db').resolve()}"
        write_private(folder / "basic_auth.ini", _LOGIN.format(users=users.replace("%", "%%"), admin=ADMIN))
        command += ["--app-name", "basic-auth"]
        environment |= {
            "MLFLOW_AUTH_CONFIG_PATH": str((folder / "basic_auth.ini").resolve()),
            "MLFLOW_AUTH_ADMIN_PASSWORD": password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(folder / "session-key"),
        }
    with open(folder / "mlflow.log", "a") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        if not wait_for(lambda: is_listening(reached, port), lambda: process.poll() is None):
            raise ServicesError(f"the MLflow server did not start; {folder / 'mlflow.log'} says why")
        yield MLflowServer(f"http://{reached}:{port}", password)
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
