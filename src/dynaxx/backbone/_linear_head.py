"""The new head of a task that the backbone was not trained for: a linear layer on standardised features."""

import torch
from torch import Tensor, nn


class Head(nn.Linear):
    """logits = W (f - μ) / σ + b, so that a step of the optimizer means the same whatever units the features are in.

    μ and σ (F) are buffers; before `standardise` they are 0 and 1, and the head is a plain linear layer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes)
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("std", torch.ones(in_features))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F) → (B, classes)."""
        return super().forward((features - self.mean) / self.std)

    @torch.no_grad()
    def standardise(self, mean: Tensor, std: Tensor) -> None:
        """Take over these statistics; weights and bias follow, so that the head answers as before."""
        folded = self.weight.double() / self.std.double()
        mean, std = mean.to(folded), std.to(folded)
        self.bias.add_(folded @ (mean - self.mean.to(folded)))
        self.weight.copy_(folded * std)
        self.mean.copy_(mean)
        self.std.copy_(std)
