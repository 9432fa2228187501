"""What is saved comes back to the bit, and what is wrong or damaged says so."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.nets import PLAIN_TAPS, Plain, images, trained_like

from dynaxx import ResonanceError, ResonanceWarning, load_resonance, wrap_with_resonance
from dynaxx.model import saving


def saved(tmp_path, backbone=None, **options):
    model = trained_like(
        wrap_with_resonance(backbone or Plain(), PLAIN_TAPS, rank=3, example_input=images(), **options)
    )
    model.fit_statistics([images()])
    model.save_pretrained(tmp_path)
    return model


def weights(tmp_path):
    return next(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gate": "learned", "num_classes": 4},
        {"gate": "position", "num_classes": 4},
        {"mode": "implicit"},
        {"T": 1, "depthwise": False},
        {"grid": (2, 2)},
        {"gate": "mutual_information"},
        {"couplings": "random"},
        {"solver": "anderson", "tolerance": 1e-2},
        {"stability": "certified"},
    ],
)
def test_logits_are_identical_after_the_round_trip(tmp_path, options):
    x, model = images(), saved(tmp_path, **options)
    with torch.no_grad():
        assert torch.equal(load_resonance(model.backbone, tmp_path)(x), model(x))


def test_a_model_saved_with_another_T_than_it_was_built_with(tmp_path):
    x, model = images(), saved(tmp_path, T=4)
    model.T = 1
    model.save_pretrained(tmp_path)
    again = load_resonance(model.backbone, tmp_path)
    assert again.T == 1
    assert torch.equal(again(x), model(x))
    again.T = model.T = 4
    assert torch.equal(again(x), model(x))


def test_a_student_added_later_travels_too(tmp_path):
    x, model = images(), saved(tmp_path)
    model.add_student()
    torch.nn.init.normal_(model.resonator.student.out.weight)
    model.save_pretrained(tmp_path)
    model.mode = "implicit"
    again = load_resonance(model.backbone, tmp_path)
    assert again.mode == "explicit"
    again.mode = "implicit"
    assert torch.equal(again(x), model(x))


def test_nothing_of_the_backbone_and_no_pickle_is_written(tmp_path):
    saved(tmp_path, num_classes=4)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]
    assert {name.split(".")[0] for name in load_file(weights(tmp_path))} == {"resonator", "head"}


def test_saving_again_replaces_and_leaves_strangers_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    model = saved(tmp_path)
    trained_like(model).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("when", ["weights", "description"])
def test_a_full_disk_keeps_the_old_files_whole(tmp_path, monkeypatch, when):
    x, model = images(), saved(tmp_path)
    with torch.no_grad():
        before = model(x)
    trained_like(model)
    real, calls = saving.os.fsync, []

    def full(fd):
        calls.append(fd)
        if len(calls) == (1 if when == "weights" else 2):
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(saving.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(load_resonance(model.backbone, tmp_path)(x), before)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_missing_damaged_and_foreign_files(tmp_path):
    model = saved(tmp_path)
    good_text, good_bytes = (tmp_path / "resonance.json").read_text(), weights(tmp_path).read_bytes()
    path = weights(tmp_path)

    def refused(says):
        with pytest.raises(ResonanceError, match=says) as caught:
            load_resonance(model.backbone, tmp_path)
        assert "\n" not in str(caught.value)

    path.write_bytes(good_bytes[:-7])
    refused("damaged")
    path.unlink()
    refused("cannot be read")
    path.write_bytes(good_bytes)
    (tmp_path / "resonance.json").write_text(good_text[:40])
    refused("cannot be read as JSON")
    (tmp_path / "resonance.json").write_text('{"format": "something else"}')
    refused("not a description")
    changed = json.loads(good_text)
    changed["config"]["flavour"] = "new"
    (tmp_path / "resonance.json").write_text(json.dumps(changed))
    refused("flavour")
    changed = json.loads(good_text)
    changed["weights"] = "../../elsewhere.safetensors"
    (tmp_path / "resonance.json").write_text(json.dumps(changed))
    refused("cannot be read")
    (tmp_path / "resonance.json").write_text(good_text)
    load_resonance(model.backbone, tmp_path)
    with pytest.raises(ResonanceError, match="no resonance.json"):
        load_resonance(model.backbone, tmp_path / "nowhere")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = saved(tmp_path)
    model.resonator.exchange.couplings.b.data[0] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(ResonanceError, match=r"couplings\.b.*not finite"):
        load_resonance(model.backbone, tmp_path)


def test_another_backbone_is_refused_and_left_as_it_was(tmp_path):
    import torchvision

    saved(tmp_path)
    other = torchvision.models.resnet18()
    with pytest.raises(ResonanceError, match="no module 'early'"):
        load_resonance(other, tmp_path)
    assert all(p.requires_grad for p in other.parameters())


def test_tensors_that_do_not_fit_the_description_are_named(tmp_path):
    import hashlib

    model = saved(tmp_path)
    path = weights(tmp_path)
    tensors = load_file(path)
    name = "resonator.exchange.couplings.b"
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, path)
    description = json.loads((tmp_path / "resonance.json").read_text())
    description["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "resonance.json").write_text(json.dumps(description))
    with pytest.raises(ResonanceError, match=r"resonator\.exchange\.couplings\.b"):
        load_resonance(model.backbone, tmp_path)


def test_a_backbone_of_other_widths_is_refused(tmp_path):
    import torchvision

    bottleneck, basic = torchvision.models.resnet50(), torchvision.models.resnet18()
    wrap_with_resonance(bottleneck, [2, 3, 4], rank=2).save_pretrained(tmp_path)
    with pytest.raises(ResonanceError, match="another architecture"):
        load_resonance(basic, tmp_path)
    with (
        pytest.raises(ResonanceError, match=r"'layer2' gave .* C=512"),
        pytest.warns(ResonanceWarning, match="another architecture"),
    ):
        load_resonance(basic, tmp_path, strict=False)
    assert all(p.requires_grad for p in basic.parameters())

    saved(tmp_path / "plain")
    wide = Plain()
    wide.late, wide.answer = torch.nn.Conv2d(10, 14, 3, padding=1), torch.nn.Linear(14, 5)
    with pytest.warns(ResonanceWarning, match="another architecture"):
        model = load_resonance(wide, tmp_path / "plain", strict=False)  # it states no input: the first pass tells
    with pytest.raises(ResonanceError, match="use the backbone that they were trained on"):
        model(images())
