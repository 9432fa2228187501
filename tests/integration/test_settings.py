"""Every value of params.yaml is judged by a rule: a bad one is one line with its key, value, and what would do."""

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dynaxx.data import DataError, ImageFolder
from dynaxx.evaluation import EvaluateOptions
from dynaxx.evaluation.arms import TrainOptions
from dynaxx.evaluation.arms.implicit import DistillOptions
from pipelines.common.judge import judge
from pipelines.common.settings import SettingsError, check_settings, rules
from pipelines.compose import ComposeError, compose_all, main

COARSE = "experiment=coarse_digits"
"""Digits with coarse groups and a network that is trained here."""


@pytest.fixture(scope="module")
def params():
    return compose_all([COARSE])


def changed(params, key, value):
    copy = OmegaConf.create(params)
    OmegaConf.update(copy, key, value, merge=False)
    return OmegaConf.to_container(copy)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("train.lr", ["fast", -0.1, 0, float("nan"), float("inf"), True, None, [0.1]]),
        ("train.batch_size", [0, -4, 2.5, "8"]),
        ("train.warmup", [-0.1, 1.5]),
        ("train.augmentation", ["rotate", 3]),
        ("distill.epochs", [0, 1.5, None]),
        ("evaluate.confidence", [95, 1, 0, "0.9"]),
        ("evaluate.T", [[], [0], 5, [1, 1], ["a"]]),
        ("evaluate.settled_at", [0, float("nan")]),
        ("evaluate.timing_precision", [0, "fine"]),
        ("evaluate.timing_seconds", [0, None]),
        ("evaluate.costs", ["dear", -1, {}, {"a": 5}, {"a": {}}, {"a": {"mised": 1}}, {"a": {"missed": -1}}]),
        ("task.seeds", [5, [], [2, 2], [-1], [2**32], ["a"], None]),
        ("task.n_val", [0, -3, "some", 0.2]),
        ("task.imbalance", [0.5, float("inf")]),
        ("baseline.C", [[], [0.0], 1.0]),
        ("select.layers", ["all", [], [0], [1, 1]]),
        ("select.taps", [1, "3"]),
        ("select.folds", [1, 2.5]),
        ("tune.lr", [[], 0.1, [-0.1]]),
        ("vary.taps", [[1], "all"]),
        ("train_arms.arms", [["nobody"], "direct", None, ["direct", "direct"]]),
        ("data.pretrain_fraction", [1.0, -0.1, "half"]),
        ("model.pretrain.val_fraction", [0, 1]),
        ("model.std", [[0.0], [-1.0], 0.2]),
        ("model.network", ["torchvision.models.resnet18"]),
        ("resonance.T", [0, 2.5]),
        ("resonance.damping", [float("nan"), 0]),
        ("tracking.experiment", ["", 5]),
        ("tracking.uri", [5, "", "runs", "/a/mlflow.db", "file:///a", "ftp://a"]),
        ("trainer.max_epochs", [3]),
        ("resonance.mode", ["hybrid"]),
    ],
)
def test_a_bad_value_is_one_line_that_names_its_key(params, key, values):
    for value in values:
        with pytest.raises(SettingsError) as raised:
            check_settings(changed(params, key, value))
        said = str(raised.value)
        assert said.startswith(f"{key}=")
        assert "give" in said or "leave" in said
        assert "\n" not in said


def test_what_belongs_together_is_judged_together(params):
    for key, value, says in (
        ("tune.seed", 1, "tune.seed=1: is one of task.seeds"),
        ("vary.seed", 0, "vary.seed=0"),
        ("evaluate.requests_per_day", 2.0, "gives a yearly value with evaluate.costs alone, the price of errors; give"),
        ("evaluate.rounds", 50, "evaluate.rounds=50: no such setting"),
        ("train.batchsize", 4, "train.batchsize=4: no such setting; did you mean train.batch_size"),
        ("resonance.rnk", 4, "did you mean 'rank'"),
        ("tracking.url", "http://a", "tracking.url='http://a': no such setting; did you mean tracking.uri"),
        ("model.mean", [0.5], r"model.mean=\[0.5\], model.std=None: give both"),
        ("modell", {"name": "resnet18"}, "modell: no such section; known are data, model"),
    ):
        with pytest.raises(SettingsError, match=says):
            check_settings(changed(params, key, value))
    del params["train"]["warmup"]
    with pytest.raises(SettingsError, match="train.warmup is missing"):
        check_settings(params)


@pytest.mark.parametrize(
    ("section", "options"), [("train", TrainOptions), ("distill", DistillOptions), ("evaluate", EvaluateOptions)]
)
def test_every_option_of_a_stage_has_a_rule(section, options):
    assert set(rules()[section]) == {field.name for field in dataclasses.fields(options)}


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trainer.devices=0"], "trainer.devices=0.*trainer=cpu"),
        (["+trainer.gradient_clip_algorithm=largest"], "trainer.gradient_clip_algorithm=largest"),
        (["+trainer.colour=red"], "trainer.colour=red.*unexpected"),
        (["trainer.precision=7"], "trainer.precision=7"),
        (["+trainer.enable_checkpointing=false"], "enable_checkpointing"),
        (["+trainer.check_val_every_n_epoch=3", "distill.epochs=2"], "check_val_every_n_epoch=3: 2 epochs"),
        (["+trainer.limit_train_batches=0"], "limit_train_batches=0: nothing"),
        (["+trainer.limit_val_batches=0"], "limit_val_batches=0: nothing"),
        (["+trainer.fast_dev_run=true"], "fast_dev_run"),
        (["select.layers=[layer7]"], "select.layers: no module 'layer7'"),
        ([COARSE, "model.network.widths=[4,0]"], "model.network.*widths=0"),
        (
            [COARSE, f"model.weights={__file__}", "model.network._target_=torchvision.models.resnet18"],
            "cannot be made.*widths",
        ),
        ([COARSE, "data.pretrain_fraction=0"], "data.pretrain_fraction=0: leaves nothing"),
        (["model=timm", "model.name=resnet1"], "model.name=resnet1: timm knows no such model; did you mean"),
        ([COARSE, "data.groups.open=['2','3']"], "data.groups leaves out class '5'"),
        ([COARSE, "data.groups.open=4"], "data.groups.open must be a list"),
        (["data.source._target_=dynaxx.data.Letters"], "data.source: .*Letters"),
        (["data.source._target_=types.SimpleNamespace"], "data.source._target_=types.SimpleNamespace: names no source"),
        (["+data.source.seeds=3"], "data.source: .*unexpected.*seeds"),
        (["trainer.accelerator=tpu"], "trainer.accelerator=tpu: "),
        (["+trainer.max_steps=5"], "trainer.max_steps=5: trainings are counted in epochs"),
        (["+trainer.min_epochs=40"], "trainer.min_epochs=40: is more than the 15 epochs"),
        (["+trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0: give"),
        (["+trainer.val_check_interval=0"], "trainer.val_check_interval=0: give"),
    ],
)
def test_what_this_machine_cannot_do_is_said_by_compose(overrides, says):
    with pytest.raises(ValueError, match=says) as raised:
        judge(OmegaConf.create(compose_all(overrides)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("launcher.cluster=lsf", "launcher.cluster='lsf': give one of slurm, local"),
        ("launcher.timeout_min=long", "launcher.timeout_min='long': give a whole number"),
        ("+launcher.memory=4", "launcher.memory=4: no such setting"),
        ("~launcher.cpus_per_task", "launcher.cpus_per_task is missing"),
        ("trainer.devices=auto", "trainer.devices='auto': with a launcher give a whole number"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0: with a launcher"),
    ],
)
def test_a_launcher_is_judged_before_a_job_is_submitted(override, says):
    with pytest.raises(ComposeError, match=says):
        compose_all(["trainer=slurm", override])


@pytest.mark.parametrize("trainer", ["cpu", "ddp_cpu", "slurm"])
def test_trainers_that_need_no_gpu_here_are_taken(trainer):
    judge(OmegaConf.create(compose_all([f"trainer={trainer}"])))


def test_one_class_is_said_by_compose(tmp_path, monkeypatch, capsys):
    for split in ("train", "test"):
        (tmp_path / "images" / split / "only").mkdir(parents=True)
        (tmp_path / "images" / split / "only" / "1.png").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["data=image_folder", "data.root=images"]) == 1
    said = capsys.readouterr().err
    assert "only one class, only; add" in said
    assert len(said.splitlines()) == 1
    assert not Path("params.yaml").exists()


@pytest.mark.parametrize("size", ["large", 0, -4, 2.5, 10**6, True])
def test_an_image_size_that_cannot_be(size, tmp_path):
    with pytest.raises(DataError, match=f"data.image_size={size!r}: give a whole number of pixels"):
        ImageFolder(tmp_path, image_size=size)


def test_a_folder_that_does_not_suit_ends_compose(tmp_path, monkeypatch, capsys):
    for name in ("train/cat", "train/dog", "test/cat"):
        (tmp_path / "images" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["data=image_folder", "data.root=images"]) == 1
    assert "classes differ between train and test" in capsys.readouterr().err
    assert not Path("params.yaml").exists()


def test_a_folder_that_is_filled_later_is_a_warning(tmp_path, monkeypatch, capsys):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["data=image_folder", "data.root=images"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert len(said.splitlines()) == 1


def test_a_key_that_does_not_exist_has_a_near_one():
    with pytest.raises(ComposeError, match="resonance.ranks: no such key here; did you mean resonance.rank"):
        compose_all(["resonance.ranks=3"])
    with pytest.raises(ComposeError, match="data.groups.rest: no such key here"):
        compose_all([COARSE, "data.groups={round: ['0'], rest: ['1']}"])
