"""So many taps, evenly over the depth: for asking how many are worth it, not for choosing the best."""

from torch import Tensor, nn

from dynaxx.selection.candidates import candidates


def blocks(backbone: nn.Module, example: Tensor) -> list[str]:
    """The candidates, and where they are sequences the modules inside them, in depth order."""
    found = []
    for path in candidates(backbone, example):
        part = backbone.get_submodule(path)
        inner = [f"{path}.{name}" for name, _ in part.named_children()] if type(part) is nn.Sequential else []
        found += inner or [path]
    return found


def spread(backbone: nn.Module, example: Tensor, taps: int) -> list[str]:
    """`taps` blocks at even distances in depth, the last one always among them; fewer where there are no more."""
    found = blocks(backbone, example)
    taps = min(taps, len(found))
    return [found[-(-(n + 1) * len(found) // taps) - 1] for n in range(taps)]
