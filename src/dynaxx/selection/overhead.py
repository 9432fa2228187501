"""The cost of coupling taps (tapped layers) by resonance, relative to the backbone's FLOPs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dynaxx import wrap_with_resonance


def overhead(backbone: nn.Module, taps: list[str], example: Tensor, options: dict[str, Any]) -> float:
    """Additional FLOPs of resonance between `taps` in one forward pass, as a share of the bare backbone's FLOPs.

    >>> overhead(backbone, ["layer3", "layer4"], torch.zeros(1, 3, 224, 224), {"T": 4, "rank": 31})
    0.021

    Args:
        example: one input, (1, C, H, W).
        options: keyword arguments of `wrap_with_resonance`, such as T and rank.
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
