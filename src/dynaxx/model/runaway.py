"""Noticing a loop that ran away: its samples get the backbone's activations, and nothing is learned from them."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from dynaxx.errors import ResonanceWarning

EVERY = 64
"""On an accelerator, how many passes of inference lie between two looks, since each look waits for the device."""


class RunawayWatch:
    """Looks at the fallback masks of one model's passes, and warns at the first sample whose loop ran away.

    It warns once more when a pass of training has lost all its samples, unless it has said so before.

    Attributes:
        passes: number of passes so far.
        warned, warned_of_all: whether a sample was reported, and whether a whole pass of training was.
    """

    def __init__(self) -> None:
        self.passes = 0
        self.warned = self.warned_of_all = False

    def look(self, fallback_B: Tensor, finite: Callable[[], Tensor] | None, learning: bool) -> None:
        """Look at the mask of one pass.

        Args:
            fallback_B: the samples that fell back.
            finite: the samples whose anchors are finite; others fall back without any loop. None takes all for such.
            learning: whether the pass is one of training.
        """
        if torch.compiler.is_compiling():  # a graph cannot warn; the model looks when it changes its mode
            return
        self.passes += 1
        if self.warned_of_all or (self.warned and not learning) or not self._may_look(fallback_B, learning):
            return
        if not bool(fallback_B.any()):
            return
        lost, samples = int((fallback_B if finite is None else fallback_B & finite()).sum()), len(fallback_B)
        all_lost = learning and bool(fallback_B.all())
        if not lost or (self.warned and not all_lost):
            return
        self.warned, self.warned_of_all = True, all_lost
        learned = "and leave no gradient" if learning else "as if there were no couplings"
        would_do = (
            "start again with a lower learning rate or a lower strength="
            if all_lost
            else ("lower the learning rate or strength=, or let calibrate() cut the strength")
        )
        warnings.warn(
            f"the loop ran away for {lost} of {samples} samples ({lost / samples:.0%}) of this pass: they get the "
            f"backbone's own activations, {learned}; {would_do} (model.fallback names the samples)",
            ResonanceWarning,
            stacklevel=2,
        )

    def _may_look(self, mask: Tensor, learning: bool) -> bool:
        if mask.is_meta or torch._C._are_functorch_transforms_active():  # there are no values to look at
            return False
        first = self.passes & (self.passes - 1) == 0  # 1, 2, 4, 8 …
        return learning or mask.device.type == "cpu" or first or self.passes % EVERY == 0
