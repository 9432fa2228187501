"""A probe is judged on the features that it was fitted to."""

import torch
from torch import nn

from dynaxx.data import Normalisation
from dynaxx.evaluation.arms import TapMLP, TapProbe
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features


def overwriting_backbone() -> nn.Module:
    """Its first tap is overwritten by the in-place ReLU behind it."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()


def test_it_reads_the_taps_as_they_were_when_they_were_reached():
    backbone, images = overwriting_backbone(), torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    features = pooled_features(backbone, ["0", "2"], "6", images, Normalisation((0.5,), (0.2,)))
    x = (images / 255 - 0.5) / 0.2
    for taps, names in ((["0", "2"], ["0", "2"]), ([], [PENULTIMATE])):
        inputs = torch.cat([features[name] for name in names], dim=1)
        linear = nn.Linear(inputs.shape[1], 3)
        with torch.no_grad():
            assert torch.allclose(TapProbe(backbone, taps, linear)(x), linear(inputs), atol=1e-5)


def test_an_mlp_takes_the_backbone_that_it_reads_along():
    mlp, x = TapMLP(overwriting_backbone(), ["0", "2"], 10, 4, 3), torch.rand(2, 1, 8, 8)
    expected = mlp(x)
    assert torch.allclose(mlp.double()(x.double()), expected.double(), atol=1e-5)
    assert not [name for name in mlp.state_dict() if "backbone" in name]


def test_without_taps_each_image_is_read_once():
    backbone, images = overwriting_backbone(), torch.randint(256, (300, 1, 8, 8), dtype=torch.uint8)
    features = pooled_features(backbone, [], "6", images, Normalisation((0.5,), (0.2,)))
    assert features[PENULTIMATE].shape == (300, 6)
