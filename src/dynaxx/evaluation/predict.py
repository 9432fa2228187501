"""Class scores (logits) that a model predicts for images."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of N normalised images, float32 (N, classes), computed on the model's device and moved to the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model(batch.to(device)).float().cpu() for batch in images.split(256)])
