"""The winner of an A/B comparison as a registered model: code, weights (safetensors), and an alias if it is adopted."""

from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynaxx.tracking.client import connect
from dynaxx.tracking.database import exclusive
from dynaxx.tracking.errors import store_errors
from dynaxx.tracking.escape import escaped
from dynaxx.tracking.names import TAG_DATA, TAG_PIPELINE

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
"""Alias of the version of a task's model that the latest decision adopts: `models:/NAME@champion`."""

PINNED_PACKAGES = (
    "torch", "safetensors", "numpy", "pandas", "omegaconf", "hydra-core", "scipy", "statsmodels", "pillow",
    "torchvision", "timm", "peft", "lightning", "torchmetrics", "scikit-learn", "filelock",
)  # fmt: skip
"""Packages that inference needs, each pinned to its version in the training environment."""


Example = NDArray[np.uint8] | dict[str, NDArray[Any]]
"""Images, or images and sources by name."""


def register(
    uri: str,
    run_id: str,
    key: str,
    arm: str,
    deployment: Path,
    example: Example,
    *,
    promote: bool,
    tags: Mapping[str, str],
    model: str | None = None,
) -> str:
    """Log the model with `run_id`, register it, and return the version's URI. A second call changes nothing.

    Each task has a registered model of its own, so that no task takes the alias `champion` from another.

    Another evaluation of the same pipeline may decide differently. So each winning arm (competitor of the
    comparison) has its own version. If no arm is to be adopted any more, the alias `champion` is removed from the
    versions of this pipeline.

    >>> register(uri, run_id, key, "explicit", Path("outputs/deployed"), images.numpy(), promote=True, tags={})
    'models:/dynaxx-cifar10-2cf24dba/1'

    Args:
        uri: URI of the store.
        run_id: id of the MLflow run in which the model is logged.
        key: key of the pipeline, from `pipeline_key`; key and arm identify a version.
        arm: name of the winning arm.
        deployment: folder written by `write_deployment`.
        example: batch of images, uint8 (B, C, H, W), for signature and input example; for a model with sources, the
            images under `IMAGES` and each source under its name.
        promote: whether the alias `champion` moves to this version.
        tags: tags of the version.
        model: name of the registered model; None: the name that belongs to the data of the run.

    Raises:
        TrackingError: the store fails.
    """
    client, key = connect(uri), escaped(key)
    with store_errors(uri, "registering the model"), exclusive(uri):
        name = escaped(model) if model else _name_of_task(client, client.get_run(run_id))
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description="The winner of each A/B; @champion is to be adopted.")
        versions = {
            found.tags["arm"]: str(found.version)
            for found in client.search_model_versions(f"name = '{name}' and tags.`{TAG_PIPELINE}` = '{key}'")
        }
        if arm not in versions:
            source = _log(uri, run_id, deployment, example)
            made = client.create_model_version(name, source, run_id, tags={TAG_PIPELINE: key, "arm": arm})
            versions[arm] = str(made.version)
        for tag, value in tags.items():
            client.set_model_version_tag(name, versions[arm], tag, value)
        champion = client.get_registered_model(name).aliases.get(CHAMPION)
        if promote:
            client.set_registered_model_alias(name, CHAMPION, versions[arm])
        elif champion is not None and str(champion) in versions.values():
            client.delete_registered_model_alias(name, CHAMPION)
    return f"models:/{name}/{versions[arm]}"


def _name_of_task(client: "MlflowClient", run: "Run") -> str:
    """`dynaxx-DATA-CHECKSUM`, of the data that the run was logged with, or of its experiment if there are none."""
    if run.inputs and run.inputs.dataset_inputs:
        data = run.inputs.dataset_inputs[0].dataset
        return escaped(f"dynaxx-{data.name}-{data.digest[:8]}")
    experiment = client.get_experiment(run.info.experiment_id).name
    return escaped(f"dynaxx-{run.data.tags.get(TAG_DATA, experiment)}-{sha256(experiment.encode()).hexdigest()[:8]}")


def _log(uri: str, run_id: str, deployment: Path, example: Example) -> str:
    """Log the model in its MLflow run and return the URI of the logged model."""
    import mlflow
    from mlflow.models import infer_signature

    from dynaxx.deployment import Deployed, answers

    answered = answers(Deployed(deployment), example)
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run(run_id=run_id):
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={"deployment": str(deployment)},
            code_paths=[str(Path(__file__).parents[1])],
            signature=infer_signature(example, answered),
            input_example=example,
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in PINNED_PACKAGES],
        )
    return str(logged.model_uri)
