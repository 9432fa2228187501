"""Classifiers on the mean activations of tapped layers of a frozen backbone: a linear probe and an MLP."""

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaxx import Anchors
from dynaxx.backbone import Head, TapReader, find_classifier, grid_of, replaced_head
from dynaxx.grid import to_grid
from dynaxx.training.pooled_features import mean_over_positions


class TapProbe(nn.Module):
    """A linear classifier on the concatenated mean activations of tapped layers: images to logits.

    Args:
        backbone: network whose activations are read; frozen.
        taps: module paths of the tapped layers; if empty, the input of the backbone's own classifier is read.
        linear: the trained linear layer.
    """

    def __init__(self, backbone: nn.Module, taps: Sequence[str], linear: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.taps, self.linear = backbone, list(taps), linear
        self.classifier = find_classifier(backbone, None)[0] if not taps else None
        self.read = TapReader(backbone, self.taps)

    def forward(self, x: Tensor) -> Tensor:
        if not self.taps:
            with replaced_head(self.backbone, self.classifier, self.linear):
                return self.backbone(x)
        return self.linear(torch.cat([mean_over_positions(activation) for activation in self.read(x)], dim=1))


class TapMLP(nn.Module):
    """logits = W₂ gelu(W₁ (f - μ) / σ + b₁) + b₂, f: tapped activations, averaged over positions and concatenated.

    Args:
        backbone: network whose activations are read; frozen.
        taps: module paths of the tapped layers, in depth order.
        features: total number of channels of the tapped layers.
        hidden: width of the hidden layer.
        classes: number of classes.
    """

    def __init__(self, backbone: nn.Module, taps: Sequence[str], features: int, hidden: int, classes: int) -> None:
        super().__init__()
        # kept in a tuple, the backbone is not registered: it is neither trained nor saved with the MLP
        self._backbone, self.read = (backbone,), TapReader(backbone, taps)
        self.inner, self.outer = Head(features, hidden), nn.Linear(hidden, classes)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move the backbone along when the module changes its device or dtype."""
        self._backbone[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor | Anchors) -> Tensor:
        """Logits (B, classes) from images (B, C, H, W), or from cached tapped activations."""
        logits: Tensor = self.outer(F.gelu(self.inner(self.features(x))))
        return logits

    def features(self, x: Tensor | Anchors) -> Tensor:
        """Concatenated mean activations f of the tapped layers, shape (B, features)."""
        if isinstance(x, Anchors):
            return torch.cat([pooled.mean(1) for pooled in x.pooled], dim=1)
        with torch.no_grad():
            activations = self.read(x)
        grid = grid_of(activations[-1], None)
        return torch.cat([to_grid(activation, grid).mean(1) for activation in activations], dim=1)
