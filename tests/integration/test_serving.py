"""The registered winner answers real requests; it is the champion only where the decision says adopt."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from support.project import environment
from support.servers import free_port

from dynaxx.data import Digits, normalise
from dynaxx.evaluation.arms import load_arm
from dynaxx.services.ports import is_listening, wait_for
from dynaxx.training.pretrained import load_backbone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(ran, tmp_path_factory):
    copy = tmp_path_factory.mktemp("serving") / "project"
    shutil.copytree(ran[0], copy)
    return copy


def decide(project, verdict: str, arm: str) -> None:
    """What the stage does where the evaluation ended so; what it really says depends on the machine's times."""
    file = project / "outputs/evaluate/evaluation.json"
    evaluation = json.loads(file.read_text())
    evaluation["decision"] |= {"verdict": verdict, "arm": arm}
    file.write_text(json.dumps(evaluation))
    done = subprocess.run([sys.executable, "-m", "pipelines.report"], cwd=project, env=environment(project),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def served(project) -> str:
    """The URI that the stage says to serve, as `pipelines.show` prints it."""
    done = subprocess.run([sys.executable, "-m", "pipelines.show"], cwd=project, env=environment(project),
                          capture_output=True, text=True, check=True)  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("model: ")]
    return line.removeprefix("model: ")


def test_the_winner_is_champion_when_it_is_to_be_adopted_and_answers_requests(project):
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")

    def champion():
        return client.get_model_version_by_alias(name, "champion")

    decide(project, "adopt", "concat_probe")
    uri = served(project)
    name = uri.removeprefix("models:/").removesuffix("@champion")
    assert re.fullmatch("dynaxx-digits-[0-9a-f]{8}", name)
    assert champion().tags["arm"] == "concat_probe"
    decide(project, "keep_probe", "baseline")
    assert re.fullmatch(rf"models:/{name}/\d+", served(project))
    with pytest.raises(MlflowException):
        champion()
    kept = client.get_model_version(name, served(project).rpartition("/")[2])
    assert (kept.tags["arm"], kept.tags["verdict"]) == ("baseline", "keep_probe")
    decide(project, "adopt", "explicit")
    # an arm of a pipeline is registered once
    versions = {version.tags["arm"]: version for version in client.search_model_versions(f"name = '{name}'")}
    assert len(versions) == len(client.search_model_versions(f"name = '{name}'"))
    champion = champion()
    assert (champion.version, champion.tags["arm"]) == (versions["explicit"].version, "explicit")
    assert champion.tags["verdict"] == "adopt"
    assert champion.tags["report"] == f"runs:/{champion.run_id}/report.html"
    run = client.get_run(champion.run_id)
    assert run.data.tags["dynaxx.kind"] == "pipeline"
    assert len(run.data.tags["mlflow.source.git.commit"]) == 40
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "digits"
    files = {item.path for item in client.list_artifacts(champion.run_id)}
    assert {"report.html", "environment.txt"} <= files
    assert run.info.status == "FINISHED"

    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port)]
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlflow.db'}"}
    with open(project / "serve.log", "w") as log:
        server = subprocess.Popen(command, cwd=project, env=environment(project) | store, stdout=log, stderr=log,
                                  start_new_session=True)  # fmt: skip
    try:
        up = wait_for(lambda: is_listening("127.0.0.1", port), lambda: server.poll() is None)
        assert up, (project / "serve.log").read_text()
        images = Digits().test().images[:7]
        body = json.dumps({"inputs": images.tolist()}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            rows = json.load(response)["predictions"]
    finally:
        subprocess.run(["pkill", "-TERM", "-g", str(server.pid)], check=False)
        server.wait()
    params = OmegaConf.load(project / "params.yaml")
    backbone = load_backbone(params.model, project / "outputs/pretrain", 1)
    arm = load_arm(project / "outputs/explicit/explicit/seed-0", backbone.network)
    with torch.no_grad():
        expected = arm(normalise(images, backbone.normalisation)).softmax(1).numpy()
    assert list(rows[0]) == [str(digit) for digit in range(10)]
    assert np.allclose([[row[str(digit)] for digit in range(10)] for row in rows], expected, atol=1e-5)


def test_nothing_of_a_registered_model_is_a_pickle(project):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{project / 'mlflow.db'}")
    version = f"{re.split('[@/]', served(project).removeprefix('models:/'))[0]}/1"
    folder = mlflow.artifacts.download_artifacts(f"models:/{version}", dst_path=str(project / "downloaded"))
    found = [path for path in (project / "downloaded").rglob("*") if path.is_file()]
    assert folder
    assert any(path.suffix == ".safetensors" for path in found)
    assert not [path for path in found if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin", ".npy")]
    described = OmegaConf.load(next(path for path in found if path.name == "MLmodel"))
    assert described.flavors.python_function.get("python_model") is None  # which would be the pickled one
    assert {"inputs", "outputs"} <= set(described.signature)
    assert described.saved_input_example_info
