"""The model families that Dynaxx promises: wrapped, trained a step, saved and loaded."""

import pytest
import torch
from support.nets import ZOO, trained_like

from dynaxx import load_resonance, wrap_with_resonance


@pytest.mark.parametrize("name", ZOO)
def test_wraps_trains_and_round_trips(name, tmp_path):
    make, layers, side = ZOO[name]
    torch.manual_seed(1)
    x, y = torch.randn(2, 3, side, side), torch.tensor([0, 1])
    backbone = make()
    with torch.no_grad():
        backbone.train()(x)  # batch norms that never saw data let the signal of a deep random network die out
        backbone.eval()
        bare = backbone(x)
    example = x[:1]
    model = wrap_with_resonance(backbone, layers, T=2, rank=4, example_input=example)
    with torch.no_grad():
        assert torch.equal(model(x), bare)

    model.fit_statistics([x])
    model.train()
    buffers = {n: b.clone() for n, b in backbone.named_buffers()}
    optimizer = torch.optim.SGD(model.trainable_parameters(), 0.1)
    for _ in range(3):  # U into the last tap moves first, then the other U, then everything is reached
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    still = [n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert not still, f"no gradient reaches {still}"
    assert all(torch.equal(b, buffers[n]) for n, b in backbone.named_buffers())
    assert all(p.grad is None for p in backbone.parameters())

    trained_like(model).eval()
    with torch.no_grad():
        saved = model(x)
    assert not torch.equal(saved, bare)
    model.save_pretrained(tmp_path)
    model.remove()
    with torch.no_grad():
        assert torch.equal(backbone(x), bare)
        assert torch.equal(load_resonance(backbone, tmp_path)(x), saved)


@pytest.mark.parametrize("name", [n for n in ZOO if "resnet18" in n or "ViT" in n])
def test_shapes_come_from_the_model_itself(name):
    make, layers, _ = ZOO[name]
    model = wrap_with_resonance(make(), layers, rank=4)
    assert model.resonator is not None


def test_auto_takes_one_from_each_third_without_stem_and_classifier():
    expected = {
        "torchvision resnet18": ("layer2", "layer3", "layer4"),
        "timm efficientnet_b0": ("blocks.2", "blocks.4", "blocks.6"),
        "timm convnext_tiny": ("stages.1", "stages.2", "stages.3"),
        "timm small ViT": ("blocks.3", "blocks.7", "blocks.11"),
    }
    for name, paths in expected.items():
        make, _, side = ZOO[name]
        x = torch.zeros(1, 3, side, side)
        model = wrap_with_resonance(make(), "auto", rank=2, token_pool="ViT" in name, example_input=x)
        assert model.paths == paths


def test_torchvision_stage_numbers_skip_stem_downsampling_and_head():
    make, layers, side = ZOO["torchvision convnext_tiny"]
    model = wrap_with_resonance(make(), layers, rank=2, example_input=torch.zeros(1, 3, side, side))
    assert model.paths == ("features.3", "features.5", "features.7")
