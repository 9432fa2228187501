"""A private PostgreSQL server: data in a folder, access by password, on loopback by default.

PostgreSQL's programs are taken from the folder of the `pg_ctl` on PATH, else from Debian's packages
(`make services-deps`).
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dynaxx.services.errors import ServicesError
from dynaxx.services.ports import ALL_INTERFACES, LOOPBACK
from dynaxx.services.secrets import secret, write_private

USER = "dynaxx"
SYSTEM_USER = "postgres"
"""Account that runs the server if this process is root: PostgreSQL refuses root, and Debian creates this account."""


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL server.

    >>> server.url("dynaxx", password=False)
    'postgresql://dynaxx@127.0.0.1:5432/dynaxx'

    Attributes:
        host: address of the server, as seen from this machine.
        port: TCP port of the server.
        password: password of the user `dynaxx`.
        passfile: file with the same password for libpq (PGPASSFILE), which keeps it off command lines.
    """

    host: str
    port: int
    password: str
    passfile: Path

    def url(self, database: str, *, password: bool = True) -> str:
        """The URL of a database, as SQLAlchemy reads it."""
        login = f"{USER}:{self.password}" if password else USER
        return f"postgresql://{login}@{self.host}:{self.port}/{database}"


@contextmanager
def postgres(folder: Path, port: int, databases: Sequence[str] = (), host: str = "127.0.0.1") -> Iterator[Postgres]:
    """Start the server of `folder`, create its cluster and `databases` if missing, and stop the server at the end.

    >>> with postgres(Path("services/postgres"), 5432, ["dynaxx"]) as server:
    ...     print(server.url("dynaxx", password=False))
    postgresql://dynaxx@127.0.0.1:5432/dynaxx

    Raises:
        ServicesError: PostgreSQL is not installed, the port is in use, or the cluster cannot be created.
    """
    password, data = secret(folder / "password"), _data_folder(folder)
    passfile = folder / "pgpass"
    write_private(passfile, f"*:*:*:{USER}:{password}\n")
    if not (data / "PG_VERSION").exists():
        _create(data, password)
    _allow(data, host)
    log = data / "server.log"
    options = f"-h {host if host not in ALL_INTERFACES else '*'} -p {port} -k {data}"
    if _pg("pg_ctl", "-D", str(data), "status", check=False).returncode == 0:  # left by a killed run
        _pg("pg_ctl", "-D", str(data), "-w", "-m", "fast", "stop")
    started = _pg("pg_ctl", "-D", str(data), "-l", str(log), "-o", options, "-w", "start", check=False)
    if started.returncode:
        said = log.read_text().splitlines()[-3:] if log.exists() else [started.stderr.strip()]
        raise ServicesError(f"PostgreSQL did not start on port {port}: {' '.join(said)}")
    try:
        server = Postgres("127.0.0.1" if host in (*LOOPBACK, *ALL_INTERFACES) else host, port, password, passfile)
        for name in databases:
            _create_database(server, name)
        yield server
    finally:
        _pg("pg_ctl", "-D", str(data), "-w", "-m", "fast", "stop", check=False)


def programs() -> Path:
    """The folder of PostgreSQL's programs; ServicesError if it is not installed."""
    if found := shutil.which("pg_ctl"):
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if not installed:
        raise ServicesError("PostgreSQL is not installed: `make services-deps` does it on Debian and Ubuntu")
    return installed[-1].parent


def _data_folder(folder: Path) -> Path:
    """The folder of the cluster: inside `folder`, or for root a folder that the server's account can access."""
    if os.geteuid() != 0:
        return folder.resolve() / "data"
    mark = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return Path("/var/lib/postgresql") / f"dynaxx-{mark}"


def _create(data: Path, password: str) -> None:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    pwfile = data.parent / f".{data.name}.password"
    write_private(pwfile, password)
    if os.geteuid() == 0:
        shutil.chown(data, SYSTEM_USER, SYSTEM_USER)
        shutil.chown(pwfile, SYSTEM_USER, SYSTEM_USER)
    try:
        _pg("initdb", "-D", str(data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={pwfile}", "-E", "UTF8",
            "--no-instructions")  # fmt: skip
    finally:
        pwfile.unlink()


def _allow(data: Path, host: str) -> None:
    """Allow logins by password, from other machines only if `host` is not loopback."""
    rules = [
        "local all all scram-sha-256",
        "host all all 127.0.0.1/32 scram-sha-256",
        "host all all ::1/128 scram-sha-256",
    ]
    if host not in LOOPBACK:
        rules += ["host all all 0.0.0.0/0 scram-sha-256", "host all all ::/0 scram-sha-256"]
    (data / "pg_hba.conf").write_text("\n".join(rules) + "\n")


def _create_database(server: Postgres, name: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if not found:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _pg(program: str, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run one of PostgreSQL's programs, under PostgreSQL's own account if this process is root."""
    account = {"user": SYSTEM_USER, "group": SYSTEM_USER, "extra_groups": []} if os.geteuid() == 0 else {}
    command = [str(programs() / program), *arguments]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
                              cwd="/", **account)  # type: ignore[call-overload]  # fmt: skip
    except (OSError, LookupError) as error:
        raise ServicesError(f"{program} cannot be run as {SYSTEM_USER}: {error}") from None
    if check and done.returncode:
        raise ServicesError(f"{program} failed: {' '.join(done.stderr.split())[:500]}")
    return done
