"""The MLflow tracking server: runs in a database, artifacts through it, a login wherever others can reach it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dynaxx.services.errors import ServicesError
from dynaxx.services.ports import ANYWHERE, LOOPBACK, answers, wait_for
from dynaxx.services.secrets import secret, write_private

ADMIN = "admin"
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""In a server's environment: it starts no runner of MLflow's own jobs (judges of traces) and none of its queues."""


@dataclass(frozen=True)
class MLflowServer:
    """A server that runs.

    Attributes:
        uri: what MLFLOW_TRACKING_URI is set to.
        password: of the user `admin`; None where it listens on loopback alone and asks nobody.
    """

    uri: str
    password: str | None


@contextmanager
def mlflow_server(
    folder: Path, store: str, port: int, host: str = "127.0.0.1", logins: str | None = None, options: Sequence[str] = ()
) -> Iterator[MLflowServer]:
    """Start `mlflow server`, wait until it answers or has ended, and stop it at the end.

    Args:
        folder: for artifacts, its log and its passwords.
        store: url of the database of runs; several workers need PostgreSQL.
        logins: url of the database of users, for a host that is not loopback; a SQLite file in `folder` by default.
        options: further ones of `mlflow server`, `--allowed-hosts=…`.

    Raises:
        ServicesError: the port is taken, or the server does not come up.
    """
    local = host in LOOPBACK
    reached = "127.0.0.1" if local or host in ANYWHERE else host
    if answers(reached, port):
        raise ServicesError(f"port {port} of {reached} is taken; give another one")
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        "MLFLOW_BACKEND_STORE_URI": store,  # not on the command line, which everybody can read
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
        if not wait_for(lambda: answers(reached, port), lambda: process.poll() is None):
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
"""A changed password counts after a minute at the latest; hashing it at every request would take most of the time."""


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server and the workers that it has started, which would live on without it."""
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
