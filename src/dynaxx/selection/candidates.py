"""The layers of a backbone that resonance can couple."""

import torch
from torch import Tensor, nn

from dynaxx import ResonanceError, stages


@torch.no_grad()
def candidates(backbone: nn.Module, example: Tensor) -> list[str]:
    """Module paths of the candidate layers in depth order: stages or blocks, without stem and classifier.

    If the structure of the network is not known, its direct children (or those of its first long nn.Sequential) are
    tried. Children that run once per forward pass and return a feature map or tokens are candidates, except the first.

    >>> candidates(torchvision.models.resnet18(), torch.zeros(1, 3, 224, 224))
    ['layer1', 'layer2', 'layer3', 'layer4']

    Raises:
        ResonanceError: the backbone has fewer than two candidates.
    """
    known = stages(backbone)
    if len(known) >= 2:
        return known
    seen: list[str] = []
    parents = [p for p, m in backbone.named_modules() if isinstance(m, nn.Sequential) and len(m) > 2][:1]
    parent = backbone.get_submodule(parents[0]) if parents else backbone
    prefix = f"{parents[0]}." if parents and parents[0] else ""

    def note(path: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim in (3, 4):
            seen.append(path)

    handles = [
        child.register_forward_hook(lambda module, args, output, path=prefix + name: note(path, output))
        for name, child in parent.named_children()
    ]
    try:
        backbone(example)
    finally:
        for handle in handles:
            handle.remove()
    found = [path for path in seen if seen.count(path) == 1][1:]
    if len(found) < 2:
        raise ResonanceError(
            f"layers='auto': {len(found)} layers of {type(backbone).__name__} can be coupled, two are needed; "
            "name module paths in select.layers"
        )
    return found
