"""Rivals of equal size, of which every parameter is trained; and features that are no other arm's."""

import copy
import dataclasses
import warnings
from typing import Any, cast

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from dynaxx.data import LabelledImages, Normalisation
from dynaxx.evaluation.arms import Run, Task, direct, last_tap_only
from dynaxx.evaluation.arms.lora import adapt, dense_layers
from dynaxx.evaluation.arms.matching import adapter_size, count_trainable, matched_rank, warn_of_another_size
from dynaxx.evaluation.arms.resonant import ANCHORED, wrapped
from dynaxx.training.small_resnet import SmallResNet


def vit() -> nn.Module:
    torch.manual_seed(0)
    options = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64}
    network = VisionTransformer(num_classes=5, **options)
    nn.init.normal_(network.heads.head.weight)  # zero, as torchvision makes it: nothing behind it would learn
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "make", [vit, lambda: SmallResNet(5, 3, (4, 8, 8), 1).eval()], ids=["attention", "convolution"]
)
def test_lora_adapts_all_that_it_counts_and_merges_into_the_same_answer(make):
    network, x = make(), torch.randn(2, 3, 32, 32)
    plain = copy.deepcopy(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether the sizes meet is asked below
        model, _ = adapt(network, 6000)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    found = model(x)
    found.pow(2).sum().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
    merged = model.merge_and_unload()
    with torch.no_grad():
        assert torch.allclose(merged(x), found, atol=1e-5)
        assert not torch.allclose(merged(x), plain(x), atol=1e-3)


def test_lora_is_as_large_as_it_says_on_attention():
    model, rank = adapt(vit(), 6000)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == pytest.approx(6000, rel=0.1)
    assert trained % rank == 0
    layers = dense_layers(vit())
    assert "encoder.layers.encoder_layer_0.self_attention" in layers
    assert not [path for path in layers if "out_proj" in path]


@pytest.mark.parametrize("readout", ["classifier", "moments"])
def test_a_size_that_is_counted_is_that_of_the_model_that_is_built(tmp_path, readout):
    backbone = SmallResNet(5, 3, (8, 12, 16), 2).eval().requires_grad_(False)
    images = LabelledImages(torch.zeros(5, 3, 16, 16, dtype=torch.uint8), torch.arange(5), tuple("abcde"))
    anything = cast("Any", None)
    options = {"rank": 6, "T": 3, "readout": readout}
    task = Task(lambda: copy.deepcopy(backbone), "f", images, Normalisation((0.0,) * 3, (1.0,) * 3), None, 0,
                ["layer1", "layer2", "layer3"], options, anything, anything, tmp_path, tmp_path, "probe",
                [])  # fmt: skip
    model = wrapped(task, 0, mode="explicit")
    target = count_trainable(model)
    for rank in (1, 3, 6):
        one_iteration = count_trainable(wrapped(task, 0, mode="explicit", T=1, rank=rank, **ANCHORED))
        assert adapter_size(model, T=1, rank=rank, **ANCHORED) == one_iteration
        assert adapter_size(model, mode="direct", rank=rank, student_hidden=2 * rank) == count_trainable(
            direct.build(task, 0, rank)
        )
    assert matched_rank(model, target) == 6
    sizes = {rank: count_trainable(direct.build(task, 0, rank)) for rank in range(1, 20)}
    assert direct.sized_rank(task, 0) == min(sizes, key=lambda rank: abs(sizes[rank] - target))
    wide = dataclasses.replace(
        task, taps=[], resonance=options | {"rank": 30}
    )  # more than the last layer's 16 channels
    assert wrapped(wide, 0, mode="probe", readout="classifier").paths == ("layer3",)


def test_a_rival_of_another_size_is_said_to_be_one():
    with pytest.warns(UserWarning, match="33,162 parameters comes no nearer than 22,602"):
        warn_of_another_size(22_602, 33_162)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_another_size(16_918, 16_906)


def test_last_tap_only_keeps_features_of_its_own(monkeypatch, tmp_path):
    """Features are kept by fingerprint and paths, and the repeated taps' paths may be those of a block's own layers."""
    backbone = SmallResNet(5, 3, (4, 8, 8), 2).eval().requires_grad_(False)
    images = LabelledImages(torch.zeros(5, 3, 32, 32, dtype=torch.uint8), torch.arange(5), tuple("abcde"))
    anything = cast("Any", None)
    taps = ["layer2", "layer3"]
    normalisation = Normalisation((0.0,) * 3, (1.0,) * 3)
    task = Task(lambda: copy.deepcopy(backbone), "f", images, normalisation, None, 0, taps, {"rank": 3, "T": 2},
                anything, anything, tmp_path, tmp_path, "own", [])  # fmt: skip
    seen: list[Task] = []
    monkeypatch.setattr(last_tap_only, "train_on_labels", lambda task, *args, **options: seen.append(task))
    last_tap_only.train(task, Run(0, tmp_path, tmp_path))
    (repeated,) = seen
    assert set(repeated.taps) <= {path for path, _ in backbone.named_modules()}
    assert (repeated.fingerprint, repeated.variant) != (task.fingerprint, task.variant)
