"""Placement of taps (tapped layers) evenly over the depth, to measure how many are worthwhile, not which are best."""

from torch import Tensor, nn

from dynaxx.selection.candidates import candidates


def blocks(backbone: nn.Module, example: Tensor) -> list[str]:
    """Candidate layers of a backbone in depth order; each nn.Sequential is replaced by the modules inside it."""
    found = []
    for path in candidates(backbone, example):
        part = backbone.get_submodule(path)
        inner = [f"{path}.{name}" for name, _ in part.named_children()] if type(part) is nn.Sequential else []
        found += inner or [path]
    return found


def spread(backbone: nn.Module, example: Tensor, taps: int) -> list[str]:
    """Paths of `taps` candidates at even distances in depth; the last is always included.

    Where there are fewer candidates, it is their blocks; of these all, if there are fewer still.

    >>> spread(torchvision.models.resnet18().eval(), torch.zeros(1, 3, 32, 32), taps=2)
    ['layer2', 'layer4']
    """
    found = candidates(backbone, example)
    if len(found) < taps:
        found = blocks(backbone, example)
    taps = min(taps, len(found))
    return [found[-(-(n + 1) * len(found) // taps) - 1] for n in range(taps)]
