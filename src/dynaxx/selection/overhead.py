"""What coupling a tap would cost, in FLOPs of the backbone."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dynaxx import wrap_with_resonance


def overhead(backbone: nn.Module, taps: list[str], example: Tensor, options: dict[str, Any]) -> float:
    """FLOPs that resonance between `taps` adds to one forward pass, as a share of the bare backbone's.

    Args:
        example: one input, (1, C, H, W).
        options: of `wrap_with_resonance`: T, rank and the others.
    """
    bare = _flops(backbone, example)
    model = wrap_with_resonance(backbone, taps, example_input=example, **options)
    try:
        return _flops(model, example) / bare - 1.0
    finally:
        model.remove()


@torch.no_grad()
def _flops(model: nn.Module, example: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        model(example)
    return counter.get_total_flops()
