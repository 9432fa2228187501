"""The servers that several machines share: PostgreSQL, and MLflow on top of it."""

from dynaxx.services.errors import ServicesError
from dynaxx.services.mlflow_server import NO_JOBS, MLflowServer, mlflow_server
from dynaxx.services.postgres import Postgres, postgres
from dynaxx.services.secrets import secret

__all__ = ["NO_JOBS", "MLflowServer", "Postgres", "ServicesError", "mlflow_server", "postgres", "secret"]
