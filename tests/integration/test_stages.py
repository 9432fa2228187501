"""Stages, one after the other: what they read, what they keep, what travels with an arm."""

import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from support.staging import change, fails, folder_of_images, use_folder

import pipelines.common.stage
from dynaxx.data import normalise
from dynaxx.evaluation.arms import ArmRecord, explicit as explicit_arm, load_arm
from dynaxx.training.small_resnet import SmallResNet
from pipelines import baseline, distill, evaluate, explicit, prepare, pretrain, select_layers, tune
from pipelines.common.stage import run
from pipelines.common.task import build_task


def test_a_network_that_is_given_sees_images_as_it_was_trained_to(empty_project, capsys):
    run("prepare", prepare.body)
    torch.manual_seed(0)
    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), "w.safetensors")
    change(model__weights="w.safetensors", model__network__num_classes=3, model__mean=[0.1])
    fails("pretrain", pretrain.body, ("model.mean=[0.1]", "give both"), capsys)
    change(model__std=[0.7])
    run("pretrain", pretrain.body)
    assert "data.pretrain_fraction=0" in capsys.readouterr().out  # half the labels would lie idle
    task = build_task(pipelines.common.stage.read_params(), taps=[])
    assert task.normalisation == ((0.1,), (0.7,))


def test_another_split_of_the_same_images_is_another_task(empty_project):
    torch.manual_seed(0)
    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), "w.safetensors")
    change(model__weights="w.safetensors", model__network__num_classes=3)
    fingerprints = []
    for seed in (0, 1, 0):
        change(data__split_seed=seed)
        run("prepare", prepare.body)
        run("pretrain", pretrain.body)
        fingerprints.append(build_task(pipelines.common.stage.read_params(), taps=[]).fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_test_images_are_opened_by_evaluate_alone_and_a_killed_stage_goes_on(empty_project, capsys, monkeypatch):
    """Test images of garbage trouble nobody until `evaluate`; on the way, `explicit` dies between two seeds."""
    root = folder_of_images(empty_project / "images", train=24)
    for image in (root / "test").rglob("*.png"):
        image.write_bytes(b"no image")
    use_folder(root, task__seeds=[0, 1], tune__lr=None, tune__epochs=None)
    for name, body in (
        ("prepare", prepare.body),
        ("pretrain", pretrain.body),
        ("baseline", baseline.body),
        ("select_layers", select_layers.body),
        ("tune", tune.body),
    ):
        run(name, body)

    whole = explicit_arm.train

    def dies_on_the_second(task, run):
        if run.seed == 1:
            raise KeyboardInterrupt
        whole(task, run)

    monkeypatch.setattr(explicit_arm, "train", dies_on_the_second)
    with pytest.raises(SystemExit) as ended:
        run("explicit", explicit.body)
    assert ended.value.code == 130
    assert not Path("outputs/explicit").exists()
    (kept,) = Path(".dynaxx/work").glob("explicit-*/out/explicit/seed-0/arm.json")
    stamp = kept.read_text()

    def only_the_second(task, run):
        assert run.seed == 1, "a finished seed was trained again"
        whole(task, run)

    monkeypatch.setattr(explicit_arm, "train", only_the_second)
    run("explicit", explicit.body)
    assert Path("outputs/explicit/explicit/seed-0/arm.json").read_text() == stamp
    assert Path("outputs/explicit/explicit/seed-1/arm.json").exists()
    assert not list(Path(".dynaxx/work").glob("explicit-*"))
    capsys.readouterr()
    fails("evaluate", evaluate.body, (".png", "on_unreadable"), capsys)


@pytest.mark.filterwarnings("ignore:.*its adapter was trained on another backbone")  # the start is of the tuned one
def test_a_tuned_backbone_and_the_reentrant_dynamics_travel_with_their_arms(empty_project, capsys):
    """An arm read back answers as it did in training: with the backbone that was tuned beside it."""
    use_folder(folder_of_images(empty_project / "images", train=24))
    change(train__backbone_lr=0.01, resonance__dynamics="reentrant", tune__lr=None, tune__epochs=None)
    for name, body in (
        ("prepare", prepare.body),
        ("pretrain", pretrain.body),
        ("baseline", baseline.body),
        ("select_layers", select_layers.body),
        ("tune", tune.body),
        ("explicit", explicit.body),
        ("distill", distill.body),
    ):
        run(name, body)
    task = build_task(OmegaConf.load("params.yaml"))
    given = task.backbone().state_dict()
    index = task.split(0)[1]
    x = normalise(task.images.images[index], task.normalisation)
    tuned = {}
    for arm, stage in (("explicit", "explicit"), ("implicit", "distill")):
        folder = Path("outputs") / stage / arm / "seed-0"
        model = load_arm(folder, task.backbone())
        hits = model(x).argmax(1) == task.images.labels[index]
        assert float(hits.double().mean()) == pytest.approx(ArmRecord.read(folder).val_score, abs=1e-6)
        tuned[arm] = model.backbone.state_dict()
    assert any(not torch.equal(t, given[n]) for n, t in tuned["explicit"].items())
    assert all(torch.equal(t, tuned["explicit"][n]) for n, t in tuned["implicit"].items())

    shutil.copytree("outputs/explicit/explicit/seed-0", "larger")
    change(train__pretrained="larger", train__backbone_lr=None, train__lr=1e-9, train__warmup=0.0)
    run("explicit", explicit.body)
    model = load_arm(Path("outputs/explicit/explicit/seed-0"), task.backbone())
    start = load_arm(Path("larger"), task.backbone())
    assert torch.allclose(model.resonator.exchange.couplings.V[0], start.resonator.exchange.couplings.V[0], atol=1e-6)
    assert torch.equal(model.resonator.exchange.statistics.mean(0), start.resonator.exchange.statistics.mean(0))
    change(train__pretrained="nowhere")
    capsys.readouterr()
    fails("explicit", explicit.body, ("'nowhere'", "no resonance.json"), capsys)


def test_another_key_is_another_work_folder(empty_project):
    for name in ("prepare", "pretrain", "baseline", "select_layers"):
        (Path("outputs") / name).mkdir(parents=True, exist_ok=True)
    first = pipelines.common.stage.stage_key("explicit")
    assert pipelines.common.stage.stage_key("explicit") == first
    change(evaluate__gallery=7)
    assert pipelines.common.stage.stage_key("explicit") == first  # not its section
    change(resonance__rank=5)
    assert pipelines.common.stage.stage_key("explicit") != first
    change(resonance__rank=4)
    assert pipelines.common.stage.stage_key("explicit") == first
    (Path("outputs/baseline") / "new").write_text("content")
    assert pipelines.common.stage.stage_key("explicit") != first
