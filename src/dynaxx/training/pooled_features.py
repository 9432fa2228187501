"""Pooled features of a frozen backbone: what probes and tap selection look at."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dynaxx.backbone.taps import tapped
from dynaxx.data import Normalisation, normalise
from dynaxx.data.progress import track

PENULTIMATE = "penultimate"
"""Name of the input of the classifier among the features."""

BATCH = 256


@torch.no_grad()
def pooled_features(
    backbone: nn.Module,
    paths: Sequence[str],
    classifier: str | None,
    images: Tensor,
    normalisation: Normalisation,
    view: Callable[[Tensor], Tensor] = lambda x: x,
) -> dict[str, Tensor]:
    """Mean over positions of the activation at each path, (N, C), and the classifier's input under "penultimate".

    Args:
        backbone: in eval mode.
        classifier: path of the linear layer whose input is taken; None takes none.
        images: uint8 (N, C, H, W).
        view: applied to each batch of images first.
    """
    found: dict[str, list[Tensor]] = {path: [] for path in paths}
    handle = None
    if classifier is not None:
        found[PENULTIMATE] = []
        handle = backbone.get_submodule(classifier).register_forward_pre_hook(
            lambda module, args: found[PENULTIMATE].append(args[0].float().cpu())
        )
    device = next(backbone.parameters()).device
    try:
        for start in track(range(0, len(images), BATCH), "reading features"):
            with tapped(backbone, paths, None, copy=[True] * len(paths)) as seen:
                backbone(normalise(view(images[start : start + BATCH]), normalisation).to(device))
            for path in paths:
                found[path].append(mean_over_positions(seen[path]).float().cpu())
    finally:
        if handle is not None:
            handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def mean_over_positions(x: Tensor) -> Tensor:
    """(B, C, H, W) or (B, N, C) → (B, C)."""
    return x.mean(1) if x.ndim == 3 else x.mean((2, 3))
