"""The servers that several machines share: PostgreSQL, and MLflow on top of it."""

from dynaxx.services.errors import ServicesError
from dynaxx.services.mlflow_server import MLflowServer, mlflow_server, mlflow_ui
from dynaxx.services.postgres import Postgres, postgres
from dynaxx.services.secrets import secret
from dynaxx.services.signals import interrupt_on_sigterm

__all__ = [
    "MLflowServer",
    "Postgres",
    "ServicesError",
    "interrupt_on_sigterm",
    "mlflow_server",
    "mlflow_ui",
    "postgres",
    "secret",
]
