"""A linear probe on a frozen backbone, as a model that can be deployed and timed."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynaxx.backbone import capture, find_classifier, replaced_head
from dynaxx.training.pooled_features import mean_over_positions


class TapProbe(nn.Module):
    """Images to logits by a linear layer on the mean activations of some taps, concatenated.

    Args:
        backbone: frozen.
        taps: module paths; empty reads the input of the backbone's own classifier.
        linear: the probe.
    """

    def __init__(self, backbone: nn.Module, taps: Sequence[str], linear: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.taps, self.linear = backbone, list(taps), linear
        self.classifier = find_classifier(backbone, None)[0] if not taps else None

    def forward(self, x: Tensor) -> Tensor:
        if not self.taps:
            with replaced_head(self.backbone, self.classifier, self.linear):
                return self.backbone(x)
        # copies: a later in-place operation must not change what the probe reads
        with capture(self.backbone, self.taps, copy=[True] * len(self.taps)) as seen:
            self.backbone(x)
        return self.linear(torch.cat([mean_over_positions(seen[tap]) for tap in self.taps], dim=1))
