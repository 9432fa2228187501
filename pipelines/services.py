"""`python -m pipelines.services [--host HOST] …`: run PostgreSQL and the MLflow server until Ctrl-C.

By default both listen on loopback alone. With another --host other machines can reach them, with a password.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from dynaxx.services import ServicesError, interrupt_on_sigterm, mlflow_server, postgres
from dynaxx.tracking import main_checkout

RUNS, STUDIES, USERS = "mlflow", "optuna", "mlflow_users"
"""Names of the databases."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both servers until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5000, help="of MLflow")
    parser.add_argument("--postgres-port", type=int, default=5433, help="of PostgreSQL")
    parser.add_argument("--folder", type=Path, help="for data, logs and passwords; default .dynaxx/services")
    parser.add_argument("--allowed-hosts", help="names that browsers may call MLflow by; see `mlflow server --help`")
    options = parser.parse_args(arguments)
    folder = options.folder or main_checkout() / ".dynaxx" / "services"
    interrupt_on_sigterm()
    extra = [f"--allowed-hosts={options.allowed_hosts}"] if options.allowed_hosts else []
    try:
        with ExitStack() as running:
            database = running.enter_context(
                postgres(folder / "postgres", options.postgres_port, (RUNS, STUDIES, USERS), options.host)
            )
            server = running.enter_context(
                mlflow_server(
                    folder / "mlflow", database.url(RUNS), options.port, options.host, database.url(USERS), extra
                )
            )
            print(f"export MLFLOW_TRACKING_URI={server.uri} PGPASSFILE={database.passfile.resolve()}")
            if server.password is not None:
                told = (folder / "mlflow" / "admin-password").resolve()
                print(f"export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=$(cat {told})")
            print(f"python -m pipelines.sweep sweep.storage={database.url(STUDIES, password=False)}")
            print(f"MLflow is on {server.uri}; Ctrl-C stops it and PostgreSQL", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return 0
    except ServicesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
