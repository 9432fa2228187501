"""Stages on bad input and on bad days: one line, nothing half-written."""

import errno
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from support.staging import change, fails, folder_of_images, use_folder

from dynaxx.training.small_resnet import SmallResNet
from pipelines import baseline, prepare, pretrain, select_layers
from pipelines.common.stage import run


def test_bad_data_is_one_line_each(empty_project, capsys):
    root = folder_of_images(empty_project / "images")
    use_folder(root)
    root.rename(empty_project / "elsewhere")  # gone since params.yaml was composed
    fails("prepare", prepare.body, "images", capsys)
    (empty_project / "elsewhere").rename(root)
    change(data__image_size=4)
    fails("prepare", prepare.body, ("data.image_size=4", "pipelines.compose"), capsys)
    use_folder(root)
    (root / "train" / "b" / "3.png").write_bytes(b"no image")
    fails("prepare", prepare.body, ("3.png", "on_unreadable"), capsys)

    shutil.rmtree(root / "test" / "c")
    fails("prepare", prepare.body, "c", capsys)

    with zipfile.ZipFile(empty_project / "evil.zip", "w") as archive:
        archive.writestr("../train/a/0.png", b"x")
    use_folder(empty_project / "evil.zip")
    fails("prepare", prepare.body, ("../train/a/0.png", "outside"), capsys)

    (root / "test" / "c").mkdir()
    use_folder(root)
    fails("prepare", prepare.body, "c", capsys)


def test_an_unreadable_image_is_skipped_only_when_told_to(empty_project, capsys):
    root = folder_of_images(empty_project / "images")
    (root / "train" / "b" / "3.png").write_bytes(b"no image")
    use_folder(root, data__source__on_unreadable="skip", data__on_unreadable="skip")
    run("prepare", prepare.body)
    assert "1 unreadable skipped" in capsys.readouterr().out
    assert list(json.loads(Path("outputs/prepare/manifest.json").read_text())["skipped"]) == ["train/b/3.png"]


def test_bad_weights_and_options_are_one_line_each(empty_project, capsys):
    run("prepare", prepare.body)
    change(model__weights="missing.safetensors")
    fails("pretrain", pretrain.body, ("missing.safetensors", "no such file"), capsys)
    change(model__library="timm", model__name="no_such_net")
    fails("pretrain", pretrain.body, ("no_such_net", "timm.list_models"), capsys)
    change(model__library=None)

    network = SmallResNet(3, 1, (4, 8, 8), 1)
    save_file(network.state_dict(), "w.safetensors")
    change(model__weights="w.safetensors", model__network__widths=[4, 8, 16])
    fails("pretrain", pretrain.body, ("does not fit", "layer3.0.conv1.weight"), capsys)
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
    change(resonance__rank=2)

    save_file(SmallResNet(3, 1, (4, 8, 8), 1).state_dict(), "w.safetensors")
    fails("baseline", baseline.body, ("changed since", "dvc repro"), capsys)
    change(resonance__colour="red")
    fails("baseline", baseline.body, "colour", capsys)


def test_garbage_in_params_is_one_line(empty_project, capsys):
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
def test_a_full_disk_leaves_nothing_half_written(empty_project, capsys, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(sys.modules["dynaxx.data.prepare"], "save_file", full)  # the package's `prepare` is a function
    fails("prepare", prepare.body, ("No space left", "free some and run `dvc repro` again"), capsys)
    monkeypatch.undo()
