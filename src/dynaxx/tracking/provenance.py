"""The provenance of a run: commit, data, machine and packages."""

import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING

from dynaxx.tracking.escape import NAME_BYTES, shortened

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


def source_tags() -> dict[str, str]:
    """The git commit, and whether files differ from the commit, under the tag names that MLflow's pages show."""
    from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_GIT_DIRTY

    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {MLFLOW_GIT_COMMIT: commit, MLFLOW_GIT_DIRTY: str(bool(changed)).lower()}


def write_environment(path: Path) -> None:
    """Write interpreter, platform and all installed packages with their versions as a requirements file."""
    packages = sorted(
        {f"{d.metadata['Name']}=={d.version}" for d in distributions() if d.metadata["Name"]}, key=str.lower
    )
    lines = [f"# Python {platform.python_version()}, {platform.platform()}", *packages]
    path.write_text("\n".join(lines) + "\n")


def log_dataset(client: "MlflowClient", run: "Run", name: str, digest: str, description: str) -> None:
    """Log the training data of a run, once.

    >>> log_dataset(client, run, "cifar10", digest, "50,000 images, 10 classes")

    Args:
        name: name of the data set.
        digest: SHA-256 of images and labels; MLflow keeps its first 36 characters.
        description: description on MLflow's page.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if any(held.dataset.digest == digest[:36] for held in (run.inputs.dataset_inputs if run.inputs else [])):
        return
    source = f'{{"tags": {{"sha256": "{digest}"}}}}'
    dataset = Dataset(shortened(name, NAME_BYTES), digest[:36], "code", source, profile=description)
    tags = [InputTag("mlflow.data.context", "training"), InputTag("sha256", digest)]
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, tags)])


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
