"""The key of a pipeline run: a hash of its parameters and its results."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dynaxx.tracking.errors import TrackingError

REPORT_STAGE = "report"


def pipeline_key(params_text: str, lock: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the text of params.yaml and the content of dvc.lock without the entry of `report`.

    The stage `report` computes the key, and DVC writes its entry only after the stage ends. With the entry included,
    the key would change at the end of the run.

    >>> pipeline_key(Path("params.yaml").read_text(), yaml.safe_load(Path("dvc.lock").read_text()))[:8]
    '2cf24dba'

    Raises:
        TrackingError: `lock` holds no stages.
    """
    if not lock.get("stages"):
        raise TrackingError(
            f"lock holds no stages, only {sorted(lock)}: pass the parsed content of dvc.lock, as DVC left it"
        )
    stages = {name: entry for name, entry in lock["stages"].items() if name != REPORT_STAGE}
    text = json.dumps([params_text, {**lock, "stages": stages}], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
