"""Pooled features of a frozen backbone, for linear probes and for the choice of the layers to couple."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dynaxx.backbone import TapReader
from dynaxx.data import Normalisation, normalise, track
from dynaxx.model import deviation

PENULTIMATE = "penultimate"
"""Key of the classifier's input in the returned dict of features."""

BATCH = 256
"""Number of images per forward pass."""


@torch.no_grad()
def pooled_features(
    backbone: nn.Module,
    paths: Sequence[str],
    classifier: str | None,
    images: Tensor,
    normalisation: Normalisation,
    view: Callable[[Tensor], Tensor] = lambda x: x,
    deviations: bool = False,
) -> dict[str, Tensor]:
    """Mean over positions of the activation at each path, (N, C), and the classifier's input under "penultimate".

    >>> features = pooled_features(backbone, ["layer3", "layer4"], "fc", images, normalisation)
    >>> features["layer3"].shape
    torch.Size([1000, 256])

    Args:
        backbone: network in eval mode.
        paths: module paths of the layers.
        classifier: path of the linear layer whose input is also returned; None: no such layer.
        images: pixels, uint8 (N, C, H, W).
        view: augmentation of each batch of images.
        deviations: whether each path also gives the deviations over positions, behind the means: (N, 2 C).
    """
    found: dict[str, list[Tensor]] = {path: [] for path in paths}
    device = next(backbone.parameters()).device
    read = TapReader(backbone, paths)
    if len(images):  # the layouts are found before the classifier's input is noted
        read(normalise(view(images[:1]), normalisation).to(device))
    handle = None
    if classifier is not None:
        found[PENULTIMATE] = []
        handle = backbone.get_submodule(classifier).register_forward_pre_hook(
            lambda module, args: found[PENULTIMATE].append(args[0].float().cpu())
        )
    try:
        for start in track(range(0, len(images), BATCH), "reading features"):
            activations = read(normalise(view(images[start : start + BATCH]), normalisation).to(device))
            for path, x in zip(paths, activations, strict=True):
                parts = [mean_over_positions(x), deviation(x)] if deviations else [mean_over_positions(x)]
                found[path].append(torch.cat(parts, dim=1).float().cpu())
    finally:
        if handle is not None:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def mean_over_positions(x: Tensor) -> Tensor:
    """Mean activation (B, C) of a map (B, C, H, W) or of tokens (B, N, C)."""
    return x.mean(1) if x.ndim == 3 else x.mean(tuple(range(2, x.ndim)))
