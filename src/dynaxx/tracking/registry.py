"""The winner of an A/B as a registered model: its code and safetensors, and an alias where it is to be adopted."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynaxx.tracking.client import connect
from dynaxx.tracking.database import exclusive
from dynaxx.tracking.errors import store_errors
from dynaxx.tracking.names import TAG_PIPELINE

MODEL = "dynaxx"
CHAMPION = "champion"
"""Alias of the version that the latest decision to adopt named: `models:/dynaxx@champion`."""

NEEDED = ("torch", "safetensors", "numpy", "pandas", "omegaconf", "hydra-core", "scipy", "statsmodels", "pillow",
          "torchvision", "timm", "peft", "lightning", "torchmetrics", "scikit-learn", "filelock")  # fmt: skip
"""What the package needs to answer images; each is pinned to what the model was made with."""


def register(
    uri: str,
    run_id: str,
    key: str,
    arm: str,
    deployment: Path,
    example: NDArray[np.uint8],
    *,
    promote: bool,
    tags: Mapping[str, str],
) -> str:
    """Log the model with `run_id`, and register it; twice done changes nothing. Returns the version's number.

    A pipeline whose evaluation ran again may decide otherwise: each arm that won has a version of its own, and where
    nothing is to be adopted any more, a version of this pipeline stops being the champion.

    Args:
        uri: the store.
        key: the pipeline's `pipeline_key`; a version is found again by it and by `arm`.
        arm: whose model it is.
        deployment: folder that `write_deployment` wrote.
        example: a batch of images, uint8 (B, C, H, W); signature and input example come from it.
        promote: whether the alias `champion` moves to this version.
        tags: of the version.

    Raises:
        TrackingError: the store fails.
    """
    client = connect(uri)
    with store_errors(uri, "registering the model"), exclusive(uri):
        if not client.search_registered_models(f"name = '{MODEL}'"):
            client.create_registered_model(MODEL, description="The winner of each A/B; @champion is to be adopted.")
        versions = {
            found.tags["arm"]: str(found.version)
            for found in client.search_model_versions(f"name = '{MODEL}' and tags.`{TAG_PIPELINE}` = '{key}'")
        }
        if arm not in versions:
            source = _log(uri, run_id, deployment, example)
            made = client.create_model_version(MODEL, source, run_id, tags={TAG_PIPELINE: key, "arm": arm})
            versions[arm] = str(made.version)
        for tag, value in tags.items():
            client.set_model_version_tag(MODEL, versions[arm], tag, value)
        champion = client.get_registered_model(MODEL).aliases.get(CHAMPION)
        if promote:
            client.set_registered_model_alias(MODEL, CHAMPION, versions[arm])
        elif champion is not None and str(champion) in versions.values():
            client.delete_registered_model_alias(MODEL, CHAMPION)
    return versions[arm]


def _log(uri: str, run_id: str, deployment: Path, example: NDArray[np.uint8]) -> str:
    """The logged model's uri."""
    import mlflow
    import pandas as pd
    import torch
    from mlflow.models import infer_signature

    from dynaxx.deployment import Deployed

    deployed = Deployed(deployment)
    answers = pd.DataFrame(deployed.probabilities(torch.from_numpy(example)).numpy(), columns=deployed.metadata.classes)
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"deployment": str(deployment)},
            code_paths=[str(Path(__file__).parents[1])],
            signature=infer_signature(example, answers),
            input_example=example,
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in NEEDED],
        )
    return str(logged.model_uri)
