"""Training of LoRA, whole networks and MLPs with the same optimizer and schedule as the couplings."""

from typing import Any, Self

import torch
from torch import nn

from dynaxx.training.classifier_module import ClassifierModule
from dynaxx.training.resonance_module import one_cycle


class FinetuneModule(ClassifierModule):
    """Training with cross-entropy, AdamW, and one learning-rate cycle.

    >>> module = FinetuneModule(network, classes=10, lr=1e-3, weight_decay=1e-4)

    Args:
        network: network whose parameters with requires_grad are trained.
        classes: number of classes.
        lr: peak learning rate.
        weight_decay: weight decay of trained parameters with two or more axes; biases and norm parameters have none.
        label_smoothing: label smoothing of the cross-entropy.
        freeze_norm: whether batch norms and dropout stay in eval mode during training, as in a frozen backbone.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        lr: float,
        weight_decay: float,
        label_smoothing: float = 0.0,
        *,
        freeze_norm: bool = False,
    ) -> None:
        super().__init__(network, classes, lr, weight_decay, label_smoothing)
        self.freeze_norm = freeze_norm

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; with frozen norms the network itself stays in eval mode."""
        super().train(mode)
        if self.freeze_norm:
            self.network.eval()
        return self

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return one_cycle(torch.optim.AdamW(groups, self.lr), self.lr, int(self.trainer.estimated_stepping_batches))
