"""Predictions of a model."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of normalised images, float32 (N, classes), on the CPU; computed on the device of the model."""
    device = next(model.parameters()).device
    return torch.cat([model(batch.to(device)).float().cpu() for batch in images.split(256)])
