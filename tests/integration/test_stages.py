"""Stages on bad input and on bad days: one line, nothing half-written, nothing lost."""

import errno
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

import pipelines.stage
from dynaxx.data import normalise
from dynaxx.evaluation.arms.facts import ArmFacts, load_arm
from dynaxx.training.small_resnet import SmallResNet
from pipelines import baseline, distill, evaluate, explicit, prepare, pretrain, select_layers, tune
from pipelines.compose import compose_params
from pipelines.stage import run
from pipelines.task import build_task

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project folder with params.yaml of experiment=smoke, one seed; in it is the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNAXX_TRACEBACK", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for part in ("src", "pipelines"):
        (tmp_path / part).symlink_to(ROOT / part)
    set_params(["experiment=smoke", "task.seeds=[0]", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"])
    return tmp_path


def set_params(overrides: list[str], **changes: object) -> None:
    params = OmegaConf.create(compose_params(overrides))
    for key, value in changes.items():
        OmegaConf.update(params, key.replace("__", "."), value)
    Path("params.yaml").write_text(OmegaConf.to_yaml(params))


def change(**changes: object) -> None:
    params = OmegaConf.load("params.yaml")
    for key, value in changes.items():
        OmegaConf.update(params, key.replace("__", "."), value)
    Path("params.yaml").write_text(OmegaConf.to_yaml(params))


def fails(name, body, says, capsys) -> None:
    before = sorted(Path().rglob("outputs/*"))
    with pytest.raises(SystemExit) as ended:
        run(name, body)
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error in stage {name}: ")
    for part in says if isinstance(says, tuple) else (says,):
        assert part in lines[0]
    assert sorted(Path().rglob("outputs/*")) == before


def folder_of_images(root: Path, classes=("a", "b", "c"), train=20, test=4) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for number, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 90, (8, 8, 3)).astype(np.uint8) + np.uint8(50 * number)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def use_folder(root: Path, **changes: object) -> None:
    set_params(
        [
            "experiment=smoke",
            "data=image_folder",
            f"data.root={root}",
            "task.seeds=[0]",
            "task.n_val=9",
            f"tracking.uri=sqlite:///{Path.cwd()}/mlflow.db",
        ],
        **changes,
    )


def test_bad_data_is_one_line_each(project, capsys):
    root = folder_of_images(project / "images")
    use_folder(root)
    root.rename(project / "elsewhere")  # gone since params.yaml was composed
    fails("prepare", prepare.body, "images", capsys)
    (project / "elsewhere").rename(root)
    change(data__image_size=4)
    fails("prepare", prepare.body, ("data.image_size=4", "pipelines.compose"), capsys)
    use_folder(root)
    (root / "train" / "b" / "3.png").write_bytes(b"no image")
    fails("prepare", prepare.body, ("3.png", "on_unreadable"), capsys)

    shutil.rmtree(root / "test" / "c")
    fails("prepare", prepare.body, "c", capsys)

    with zipfile.ZipFile(project / "evil.zip", "w") as archive:
        archive.writestr("../train/a/0.png", b"x")
    use_folder(project / "evil.zip")
    fails("prepare", prepare.body, ("../train/a/0.png", "outside"), capsys)

    (root / "test" / "c").mkdir()
    use_folder(root)
    fails("prepare", prepare.body, "c", capsys)


def test_an_unreadable_image_is_skipped_only_when_told_to(project, capsys):
    root = folder_of_images(project / "images")
    (root / "train" / "b" / "3.png").write_bytes(b"no image")
    use_folder(root, data__source__on_unreadable="skip", data__on_unreadable="skip")
    run("prepare", prepare.body)
    assert "1 unreadable skipped" in capsys.readouterr().out
    assert "3.png" in json.loads(Path("outputs/prepare/manifest.json").read_text())["skipped"][0]


def test_bad_weights_and_options_are_one_line_each(project, capsys):
    run("prepare", prepare.body)
    change(model__weights="missing.safetensors")
    fails("pretrain", pretrain.body, ("missing.safetensors", "no such file"), capsys)
    change(model__weights="timm:no_such_net")
    fails("pretrain", pretrain.body, ("no_such_net", "timm.list_models"), capsys)

    network = SmallResNet(3, 1, (4, 8, 8), 1)
    save_file(network.state_dict(), "w.safetensors")
    change(model__weights="w.safetensors")
    fails("pretrain", pretrain.body, "num_classes", capsys)
    change(model__network__num_classes=3, model__network__widths=[4, 8, 16])
    fails("pretrain", pretrain.body, "does not fit", capsys)
    change(model__network__widths=[4, 8, 8])
    network.fc.weight.data[0, 0] = float("nan")
    save_file(network.state_dict(), "w.safetensors")
    fails("pretrain", pretrain.body, ("fc.weight", "not finite"), capsys)
    Path("w.safetensors").write_bytes(b"garbage")
    fails("pretrain", pretrain.body, "no readable weights", capsys)

    torch.manual_seed(0)
    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), "w.safetensors")
    run("pretrain", pretrain.body)
    pointer = json.loads(Path("outputs/pretrain/backbone.json").read_text())
    assert pointer["weights"] == "w.safetensors"
    assert not list(Path("outputs/pretrain").glob("*.safetensors"))  # a pointer, not a copy
    capsys.readouterr()

    change(task__n_val=5000)
    fails("baseline", baseline.body, "5000", capsys)
    change(task__n_val=100, task__imbalance=0.5)
    fails("baseline", baseline.body, ("imbalance", "0.5"), capsys)
    change(task__imbalance=1.0, select__layers=["layer9"])
    fails("select_layers", select_layers.body, ("layer9", "layer1"), capsys)
    change(select__layers="auto", resonance__T=0)
    fails("select_layers", select_layers.body, ("T=0", "at least 1"), capsys)
    change(resonance__T=2, resonance__rank=999)
    fails("select_layers", select_layers.body, ("rank=999", "channels"), capsys)
    change(resonance__rank=2, resonance__colour="red")
    fails("select_layers", select_layers.body, "colour", capsys)

    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), "w.safetensors")
    fails("baseline", baseline.body, ("changed since", "dvc repro"), capsys)


def test_a_network_that_is_given_sees_images_as_it_was_trained_to(project, capsys):
    run("prepare", prepare.body)
    torch.manual_seed(0)
    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), "w.safetensors")
    change(model__weights="w.safetensors", model__network__num_classes=3, model__mean=[0.1])
    fails("pretrain", pretrain.body, ("model.mean=[0.1]", "give both"), capsys)
    change(model__std=[0.7])
    run("pretrain", pretrain.body)
    assert "data.pretrain_fraction=0" in capsys.readouterr().out  # half the labels would lie idle
    task = build_task(pipelines.stage.read_params(), taps=[])
    assert (task.mean, task.std) == ((0.1,), (0.7,))


def test_another_split_of_the_same_images_is_another_task(project):
    torch.manual_seed(0)
    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), "w.safetensors")
    change(model__weights="w.safetensors", model__network__num_classes=3)
    fingerprints = []
    for seed in (0, 1, 0):
        change(data__split_seed=seed)
        run("prepare", prepare.body)
        run("pretrain", pretrain.body)
        fingerprints.append(build_task(pipelines.stage.read_params(), taps=[]).fingerprint)
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]


def test_garbage_in_params_is_one_line(project, capsys):
    Path("params.yaml").write_text("a: [")
    fails("prepare", prepare.body, ("params.yaml", "pipelines.compose"), capsys)
    Path("params.yaml").unlink()
    fails("prepare", prepare.body, ("params.yaml", "missing"), capsys)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "train.safetensors"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["of Python", "of safetensors"],
)
def test_a_full_disk_leaves_nothing_half_written(project, capsys, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["dynaxx.data.prepare"], "save_file", full)  # the package's `prepare` is a function
    fails("prepare", prepare.body, ("No space left", "free some and run `dvc repro` again"), capsys)
    monkeypatch.undo()


def test_test_images_are_opened_by_evaluate_alone_and_a_killed_stage_goes_on(project, capsys, monkeypatch):
    """Test images of garbage trouble nobody until `evaluate`; on the way, `explicit` dies between two seeds."""
    root = folder_of_images(project / "images", train=24)
    for image in (root / "test").rglob("*.png"):
        image.write_bytes(b"no image")
    use_folder(root, task__seeds=[0, 1], tune__lr=None)
    for name, body in (
        ("prepare", prepare.body),
        ("pretrain", pretrain.body),
        ("baseline", baseline.body),
        ("select_layers", select_layers.body),
        ("tune", tune.body),
    ):
        run(name, body)

    whole = explicit.explicit.train

    def dies_on_the_second(task, seed, *rest):
        if seed == 1:
            raise KeyboardInterrupt
        whole(task, seed, *rest)

    monkeypatch.setattr(explicit.explicit, "train", dies_on_the_second)
    with pytest.raises(SystemExit) as ended:
        run("explicit", explicit.body)
    assert ended.value.code == 130
    assert not Path("outputs/explicit").exists()
    (kept,) = Path(".dynaxx/work").glob("explicit-*/out/explicit/seed-0/arm.json")
    stamp = kept.read_text()

    def only_the_second(task, seed, *rest):
        assert seed == 1, "a finished seed was trained again"
        whole(task, seed, *rest)

    monkeypatch.setattr(explicit.explicit, "train", only_the_second)
    run("explicit", explicit.body)
    assert Path("outputs/explicit/explicit/seed-0/arm.json").read_text() == stamp
    assert Path("outputs/explicit/explicit/seed-1/arm.json").exists()
    assert not list(Path(".dynaxx/work").glob("explicit-*"))
    capsys.readouterr()
    fails("evaluate", evaluate.body, (".png", "on_unreadable"), capsys)


def test_a_tuned_backbone_and_the_reentrant_dynamics_travel_with_their_arms(project, capsys):
    """An arm read back answers as it did in training: with the backbone that was tuned beside it."""
    use_folder(folder_of_images(project / "images", train=24))
    change(train__backbone_lr=0.01, resonance__dynamics="reentrant", tune__lr=None)
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
    x = normalise(task.images.images[index], task.mean, task.std)
    tuned = {}
    for arm, stage in (("explicit", "explicit"), ("implicit", "distill")):
        folder = Path("outputs") / stage / arm / "seed-0"
        model = load_arm(folder, task.backbone())
        hits = model(x).argmax(1) == task.images.labels[index]
        assert float(hits.double().mean()) == pytest.approx(ArmFacts.read(folder).val_accuracy, abs=1e-6)
        tuned[arm] = model.backbone.state_dict()
    assert any(not torch.equal(t, given[n]) for n, t in tuned["explicit"].items())
    assert all(torch.equal(t, tuned["explicit"][n]) for n, t in tuned["implicit"].items())

    shutil.copytree("outputs/explicit/explicit/seed-0", "larger")
    change(train__pretrained="larger", train__backbone_lr=None, train__lr=1e-9, train__warmup=0.0)
    run("explicit", explicit.body)
    model = load_arm(Path("outputs/explicit/explicit/seed-0"), task.backbone())
    start = load_arm(Path("larger"), task.backbone())
    assert torch.allclose(model.engine.couplings.V[0], start.engine.couplings.V[0], atol=1e-6)
    assert torch.equal(model.engine.statistics.mean(0), start.engine.statistics.mean(0))
    change(train__pretrained="nowhere")
    capsys.readouterr()
    fails("explicit", explicit.body, ("'nowhere'", "no resonance.json"), capsys)


def test_another_key_is_another_work_folder(project):
    for name in ("prepare", "pretrain", "baseline", "select_layers"):
        (Path("outputs") / name).mkdir(parents=True, exist_ok=True)
    first = pipelines.stage.stage_key("explicit")
    assert pipelines.stage.stage_key("explicit") == first
    change(evaluate__rounds=7)
    assert pipelines.stage.stage_key("explicit") == first  # not its section
    change(resonance__rank=5)
    assert pipelines.stage.stage_key("explicit") != first
    change(resonance__rank=4)
    assert pipelines.stage.stage_key("explicit") == first
    (Path("outputs/baseline") / "new").write_text("content")
    assert pipelines.stage.stage_key("explicit") != first
