"""`python -m pipelines.ui`: open the MLflow UI on the store that the pipeline logs to, on loopback only."""

import os
import subprocess
import sys

from dynaxx.services import NO_JOBS
from dynaxx.tracking import TrackingError, tracking_uri
from pipelines.common.stage import read_params


def main() -> int:
    """Run the UI until interrupted."""
    try:
        uri = tracking_uri(read_params().tracking.uri)
    except (ValueError, TrackingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if uri.startswith(("http://", "https://")):
        print(f"the runs are on {uri}; open that address")
        return 0
    print("MLflow UI on http://127.0.0.1:5000, stop it with Ctrl-C", flush=True)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        uri,
        "--host",
        "127.0.0.1",
        "--port",
        "5000",
    ]
    try:
        return subprocess.run(command, env=os.environ | NO_JOBS, check=False).returncode
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
