"""The networks of torchvision, the smallest of each family."""

from collections.abc import Callable
from typing import Any

import torchvision
from torch import nn

from benchmarks.backbones.entry import Entry, images

models = torchvision.models


def _net(
    name: str, side: int = 64, make: Callable[[], nn.Module] | None = None, layers: str = "", **facts: Any
) -> Entry:
    made = make or (lambda: models.get_model(name, weights=None))
    return Entry(name, "torchvision", made, images(side), tuple(layers.split()), **facts)


def _aux_free(name: str) -> Callable[[], nn.Module]:
    return lambda: models.get_model(name, weights=None, aux_logits=False, transform_input=True, init_weights=False)


def _dense(name: str) -> Callable[[], nn.Module]:
    return lambda: models.get_model(name, weights=None, weights_backbone=None, num_classes=5)


NETS = [
    _net("resnet18", fast=True),
    _net("resnext50_32x4d"),
    _net("wide_resnet50_2"),
    _net("densenet121", layers="features.denseblock2 features.denseblock3 features.denseblock4"),
    _net("regnet_y_400mf", layers="trunk_output.block2 trunk_output.block3 trunk_output.block4"),
    _net("regnet_x_400mf", layers="trunk_output.block2 trunk_output.block3 trunk_output.block4"),
    _net("mobilenet_v2", layers="features.6 features.13 features.17"),
    _net("mobilenet_v3_small", layers="features.3 features.8 features.11", fast=True),
    _net("efficientnet_b0"),
    _net("efficientnet_v2_s"),
    _net("shufflenet_v2_x0_5", layers="stage2 stage3 stage4", fast=True),
    _net("mnasnet0_5", layers="layers.9 layers.11 layers.13"),
    _net("vgg11", layers="features.10 features.15 features.20"),
    _net("vgg11_bn", layers="features.14 features.21 features.28"),
    _net("googlenet", 96, _aux_free("googlenet"), "inception3b inception4e inception5b"),
    _net("inception_v3", 96, _aux_free("inception_v3"), "Mixed_5d Mixed_6e Mixed_7c"),
    _net("squeezenet1_1", layers="features.4 features.7 features.12", fast=True),
    _net("alexnet", 96, layers="features.2 features.5 features.12"),
    _net("convnext_tiny"),
    _net("swin_t", layers="features.3 features.5 features.7", layout="BHWC", channels=(192, 384, 768)),
    _net("swin_v2_t", layers="features.3 features.5 features.7", layout="BHWC", channels=(192, 384, 768)),
    _net(
        "maxvit_t",
        64,
        lambda: models.maxvit.MaxVit((64, 64), 16, 2, [32, 48, 64, 96], [1, 1, 2, 1], 8, 0.0),
        "blocks.1 blocks.2 blocks.3",
        fast=True,
    ),
    _net("vit_b_16", 64, lambda: models.VisionTransformer(64, 16, 6, 2, 64, 128), fast=True),
    _net(
        "deeplabv3_mobilenet_v3_large", 96, _dense("deeplabv3_mobilenet_v3_large"), "backbone.6 backbone.12 backbone.16"
    ),
    _net("fcn_resnet50", 64, _dense("fcn_resnet50"), "backbone.layer2 backbone.layer3 backbone.layer4"),
    _net(
        "lraspp_mobilenet_v3_large",
        96,
        _dense("lraspp_mobilenet_v3_large"),
        "backbone.6 backbone.12 backbone.16",
        fast=True,
    ),
]
