"""params.yaml is what conf/ composes to, and overrides that do not compose say so in one line."""

import runpy
import sys
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
        (["model.weights=nowhere.pt"], "model.weights=nowhere.pt: no such file or folder.*model=timm"),
        (["model=timm"], "model.name is mandatory"),
        (["model=torchvision", "model.name=resnet18"], "model.weights is mandatory"),
        (["model=python", "model.weights=w.pt"], "model.target is mandatory"),
        (["model.weights=."], "is a folder"),
        (["experiment=nothing"], "experiment/nothing.*cifar10"),
        (["resonance.rnk=3"], "resonance.rnk"),
        (["trainer=tpu"], "trainer/tpu.*ddp_cpu"),
        (["what"], "what"),
        (["train=null"], "train=null: give the name of an option"),
        (["~model"], "model: the section is missing"),
        (["task.seeds=3,4"], r"task.seeds=3,4: give a list, task.seeds=\[3,4\]"),
        (["train.pretrained="], "train.pretrained=: no such file"),
        (["trainer=tpu"], "ddp_cpu gpu sharded slurm$"),
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


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("compose", ["params.yaml", "image_folder", "resonance.T", "examples:", "ddp_cpu"]),
        ("sweep", ["n_trials=", "constrained", "sweep.space", "examples:"]),
        ("explicit", ["dvc repro explicit", "takes no options"]),
        ("prepare", ["dvc repro prepare", "heck the data"]),
        ("show", ["report"]),
        ("ui", ["MLflow"]),
        ("sweep.worker", ["NUMBER PARENT"]),
    ],
)
def test_help_is_plain_and_leaves_everything_alone(command, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = f"pipelines.{command}"
    module = f"{name}.__main__" if command == "sweep" else name
    monkeypatch.setattr("sys.argv", [command, "--help"])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert said.err == ""
    for part in says:
        assert part in said.out
    assert all(len(line) <= 120 for line in said.out.splitlines())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["show", "ui"])
def test_commands_without_options_take_none(command, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [command, "port=80"])
    monkeypatch.delitem(sys.modules, f"pipelines.{command}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"pipelines.{command}", run_name="__main__", alter_sys=True)
    assert ended.value.code == 1
    assert "port=80: this command takes no arguments" in capsys.readouterr().err


def test_a_stage_takes_no_arguments(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["baseline", "train.lr=0.1"])
    monkeypatch.delitem(sys.modules, "pipelines.baseline", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pipelines.baseline", run_name="__main__", alter_sys=True)
    assert ended.value.code == 1
    assert "train.lr=0.1: a stage takes no arguments" in capsys.readouterr().err


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
    own = yaml.safe_load(compose_params(["experiment=smoke", "model=timm", "model.name=resnet18"]))
    assert not own["model"].keys() & {"network", "pretrain"}
    assert own["model"]["library"] == "timm"
    assert own["data"]["pretrain_fraction"] == 0.0  # a trained model leaves all images to the task


def test_every_section_that_a_stage_declares_exists_and_is_declared_by_some_stage():
    params = yaml.safe_load(compose_params([]))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    declared = {section.split(".")[0] for stage in stages.values() for section in stage["params"]}
    assert declared == set(params)
