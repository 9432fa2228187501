"""Which layers may be coupled at all."""

import torch
from torch import Tensor, nn

from dynaxx import ResonanceError, stages


@torch.no_grad()
def candidates(backbone: nn.Module, example: Tensor) -> list[str]:
    """Module paths of the candidates in depth order: stages or blocks, never the stem and never the classifier.

    In a network of no known structure these are its direct children (those of a sequence, where it is one) that run
    once and return a map or tokens, without the first.

    Raises:
        ResonanceError: fewer than two.
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
