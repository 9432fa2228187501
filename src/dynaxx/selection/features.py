"""What the layers of a backbone show of images: the features that the selection scores.

Means and deviations over positions, or, where the kind's heads read maps, the positions of the message grid.

Shape legend: N images, P positions of the grid, C channels, F features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx import wrap_with_resonance
from dynaxx.backbone import find_classifier
from dynaxx.data import Normalisation, normalise, track
from dynaxx.training.pooled_features import BATCH, PENULTIMATE, pooled_features

LAST = PENULTIMATE
"""Key of the last layer's features: the classifier's input; the last candidate on the grid, where heads read maps."""

READING = ("grid", "layout", "causal", "prefix_tokens", "token_pool")
"""Options of `wrap_with_resonance` that decide what is read of a layer."""


def reads_positions(readout: str) -> bool:
    """Whether heads with this readout answer in every position."""
    return readout == "map"


def layer_features(
    backbone: nn.Module, paths: Sequence[str], images: Tensor, normalisation: Normalisation
) -> dict[str, Tensor]:
    """Means and deviations over positions of each layer, (N, 2 C), and the last layer under `LAST`.

    >>> layer_features(backbone, ["layer3"], images, normalisation)["layer3"].shape
    torch.Size([1000, 512])

    Args:
        backbone: network in eval mode. Where it has no linear classifier, its last layer is the last of `paths`.
        paths: module paths of the layers in depth order.
        images: pixels, uint8 (N, C, H, W).
    """
    classifier, _ = find_classifier(backbone, None)
    found = pooled_features(backbone, paths, classifier, images, normalisation, deviations=True)
    return {LAST: found[paths[-1]]} | found


@torch.no_grad()
def grid_features(
    backbone: nn.Module,
    paths: Sequence[str],
    images: Tensor,
    normalisation: Normalisation,
    options: Mapping[str, Any],
) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Activations of each layer on the message grid, (N, P, C), or (N, 1, C) without positions; and the grid.

    >>> grid_features(backbone, ["layer2", "layer3"], images, normalisation, {"grid": (28, 28)})[0]["layer3"].shape
    torch.Size([100, 784, 256])

    Args:
        options: options of the resonance to come; those in `READING` say how layers are read.
    """
    chosen = {name: options[name] for name in READING if name in options}
    whole: dict[str, Any] = {"mode": "concat_probe", "readout": "map", "num_classes": 1, "rank": 1, "T": 1}
    example = torch.zeros(1, *images.shape[1:])
    model = wrap_with_resonance(backbone, list(paths), example_input=example, **(chosen | whole))
    device = next(backbone.parameters()).device
    parts: list[list[Tensor]] = [[] for _ in paths]
    found: tuple[int, ...] = ()
    try:
        for start in track(range(0, len(images), BATCH), "reading features"):
            anchors = model.read(normalise(images[start : start + BATCH], normalisation).to(device))
            found = tuple(anchors.grid)
            for part, x_BPC in zip(parts, anchors.pooled, strict=True):
                part.append(x_BPC.float().cpu())
    finally:
        model.remove()
    features = {path: torch.cat(part) for path, part in zip(model.paths, parts, strict=True)}
    return {LAST: features[model.paths[-1]]} | features, found
