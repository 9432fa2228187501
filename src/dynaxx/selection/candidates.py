"""The layers of a backbone that resonance can couple."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx import ResonanceError, stages
from dynaxx.backbone import find_classifier, hooked

POOLED = ("mean", "moments")
"""Readouts whose heads read means over the positions of taps."""


def candidates(backbone: nn.Module, example: Tensor, readout: str = "classifier") -> list[str]:
    """Module paths of the candidate layers in depth order: stages or blocks, without stem and classifier.

    >>> candidates(torchvision.models.resnet18(), torch.zeros(1, 3, 224, 224))
    ['layer1', 'layer2', 'layer3', 'layer4']

    Where heads read means of taps, the map behind the last stage is a candidate, too, if the classifier reads its mean:
    what the last layer alone knows is then among what several layers know.

    >>> candidates(timm.create_model("tf_efficientnet_lite0"), torch.zeros(1, 3, 224, 224), "moments")[-2:]
    ['blocks.6', 'bn2']

    Args:
        example: one image (1, C, H, W).
        readout: how heads read the taps, as the option of `wrap_with_resonance`.

    Raises:
        ResonanceError: the backbone has fewer than two candidates.
    """
    found = stages(backbone, ((example,), {}))
    if len(found) < 2:
        raise ResonanceError(
            f"layers='auto': {len(found)} layers of {type(backbone).__name__} can be coupled, two are needed; "
            "name module paths in select.layers"
        )
    return found + (_behind_last(backbone, found, example) if readout in POOLED else [])


@torch.no_grad()
def _behind_last(backbone: nn.Module, found: list[str], example: Tensor) -> list[str]:
    """The first module behind the last stage whose mean over positions is the classifier's input; none if the last
    stage is that."""
    try:
        path, _ = find_classifier(backbone, None)
    except ResonanceError:
        return []
    inside = tuple(f"{stage}." for stage in found)
    around = {stage[:end] for stage in found for end, letter in enumerate(stage) if letter == "."}
    paths = [name for name, _ in backbone.named_modules() if name and not name.startswith(inside)]
    paths = [name for name in paths if name not in around]
    seen: list[tuple[str, Tensor]] = []
    read: list[Tensor] = []

    def noting(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if name == path:
                read.append(args[0])
            elif isinstance(output, Tensor) and output.ndim > 2 and output.is_floating_point():
                seen.append((name, output.clone()))

        return note

    image = torch.rand(example.shape, generator=torch.Generator().manual_seed(0)).to(example)
    with hooked(backbone, {name: noting(name) for name in paths}):
        backbone(image)
    if len(read) != 1 or read[0].ndim != 2:
        return []
    summarised = [name for name, x in seen if _is_mean_of(read[0], x)]
    # the outermost of those that end with the first, as `bn2` does with `bn2.act`
    outermost = [name for name in summarised if summarised[0] == name or summarised[0].startswith(f"{name}.")][-1:]
    return [name for name in outermost if name != found[-1]]


def _is_mean_of(features: Tensor, x: Tensor) -> bool:
    """Whether `features` (1, C) are the mean over the positions of `x`, (1, C, …) or (1, …, C)."""
    if x.numel() == features.numel():  # it has been pooled
        return False
    means = (x.flatten(2).mean(2), x.flatten(1, -2).mean(1))
    return any(mean.shape == features.shape and torch.allclose(mean, features, atol=1e-5) for mean in means)
