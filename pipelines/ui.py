"""`python -m pipelines.ui`: open the MLflow UI on the store that the pipeline logs to, on loopback only."""

import sys

from dynaxx.services import ServicesError, interrupt_on_sigterm, mlflow_ui
from dynaxx.tracking import TrackingError, connect, tracking_uri
from pipelines.common.help import UI, answered
from pipelines.common.stage import read_params

PORT = 5000


def main() -> int:
    """Run the UI until interrupted."""
    interrupt_on_sigterm()
    try:
        uri = tracking_uri(read_params().tracking.uri)
        if uri.startswith(("http://", "https://")):
            print(f"the runs are on {uri}; open that address")
            return 0
        connect(uri)  # which brings the artifacts of a moved store along
        with mlflow_ui(uri, PORT) as server:
            print(f"MLflow UI on http://127.0.0.1:{PORT}, stop it with Ctrl-C", flush=True)
            return server.wait()
    except (ValueError, TrackingError, ServicesError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    status = answered(UI)
    sys.exit(main() if status is None else status)
