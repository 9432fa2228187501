"""The winner of an A/B comparison as a registered model: code, weights (safetensors), and an alias if it is adopted."""

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
"""Name of the registered model in MLflow."""
CHAMPION = "champion"
"""Alias of the model version that the latest decision adopts: `models:/dynaxx@champion`."""

PINNED_PACKAGES = (
    "torch", "safetensors", "numpy", "pandas", "omegaconf", "hydra-core", "scipy", "statsmodels", "pillow",
    "torchvision", "timm", "peft", "lightning", "torchmetrics", "scikit-learn", "filelock",
)  # fmt: skip
"""Packages that inference needs, each pinned to its version in the training environment."""


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
    """Log the model with `run_id`, register it, and return the version's number. A second call changes nothing.

    Another evaluation of the same pipeline may decide differently. So each winning arm (competitor of the
    comparison) has its own version. If no arm is to be adopted any more, the alias `champion` is removed from the
    versions of this pipeline.

    >>> register(uri, run_id, key, "explicit", Path("outputs/deployed"), images.numpy(), promote=True, tags={})
    '1'

    Args:
        uri: URI of the store.
        run_id: id of the MLflow run in which the model is logged.
        key: key of the pipeline, from `pipeline_key`; key and arm identify a version.
        arm: name of the winning arm.
        deployment: folder written by `write_deployment`.
        example: batch of images, uint8 (B, C, H, W), for signature and input example.
        promote: whether the alias `champion` moves to this version.
        tags: tags of the version.

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
    """Log the model in its MLflow run and return the URI of the logged model."""
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
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in PINNED_PACKAGES],
        )
    return str(logged.model_uri)
