"""A given number of taps, evenly over the depth: to measure how many taps pay, not to choose the best ones."""

from torch import Tensor, nn

from dynaxx.selection.candidates import candidates


def blocks(backbone: nn.Module, example: Tensor) -> list[str]:
    """Candidate layers in depth order; an nn.Sequential is replaced by the modules inside it."""
    found = []
    for path in candidates(backbone, example):
        part = backbone.get_submodule(path)
        inner = [f"{path}.{name}" for name, _ in part.named_children()] if type(part) is nn.Sequential else []
        found += inner or [path]
    return found


def spread(backbone: nn.Module, example: Tensor, taps: int) -> list[str]:
    """Paths of `taps` blocks at even distances in depth, or of all if there are fewer; the last is always included."""
    found = blocks(backbone, example)
    taps = min(taps, len(found))
    return [found[-(-(n + 1) * len(found) // taps) - 1] for n in range(taps)]
