"""params.yaml is what conf/ composes to, and overrides that do not compose say so in one line."""

from pathlib import Path

import pytest
import yaml

from pipelines.compose import ComposeError, compose_params, main

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_params_are_the_default_composition():
    assert (ROOT / "params.yaml").read_text() == compose_params([])


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["experiment=cifar10"], "data.root is mandatory.*data.root=VALUE"),
        (["data=torchvision", "data.root=x"], "data.set is mandatory"),
        (["experiment=cifar10", "data.root=nowhere.zip"], "data.root=nowhere.zip: no such file or folder"),
        (["model.weights=nowhere.pt"], "model.weights=nowhere.pt: no such file or folder.*timm:NAME"),
        (["experiment=nothing"], "experiment/nothing.*cifar10"),
        (["resonance.rnk=3"], "resonance.rnk"),
        (["trainer=tpu"], "trainer/tpu.*ddp_cpu"),
        (["what"], "what"),
    ],
)
def test_bad_overrides_are_one_line_and_leave_the_file(overrides, says, tmp_path, monkeypatch, capsys):
    with pytest.raises(ComposeError, match=says):
        compose_params(overrides)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("mine")
    assert main(overrides) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert Path("params.yaml").read_text() == "mine"


@pytest.mark.parametrize("trainer", ["cpu", "gpu", "ddp", "ddp_cpu"])
def test_every_trainer_composes(trainer):
    assert yaml.safe_load(compose_params([f"trainer={trainer}"]))["trainer"]["_partial_"] is True


def test_an_experiment_switches_everything_it_names_and_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("some.zip").touch()
    Path("w.pt").touch()
    params = yaml.safe_load(compose_params(["experiment=cifar10", "data.root=some.zip"]))
    assert params["data"]["source"]["root"] == str(Path("some.zip").resolve())
    assert params["data"]["watch"] == params["data"]["root"]
    assert params["task"]["n_train"] == 9000
    assert len(params["task"]["seeds"]) >= 6
    model = yaml.safe_load(compose_params(["model.weights=w.pt"]))["model"]
    assert model["weights"] == model["watch"] == str(Path("w.pt").resolve())
    assert yaml.safe_load(compose_params(["model=timm", "model.weights=timm:resnet18"]))["model"]["network"] is None


def test_every_section_that_a_stage_declares_exists_and_is_declared_by_some_stage():
    params = yaml.safe_load(compose_params([]))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    declared = {section.split(".")[0] for stage in stages.values() for section in stage["params"]}
    assert declared == set(params)
