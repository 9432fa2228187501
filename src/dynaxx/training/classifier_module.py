"""Supervised training of a whole network, such as the small backbone that replaces a user's model."""

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy


class ClassifierModule(pl.LightningModule):
    """Training with cross-entropy, SGD with Nesterov momentum, and one learning-rate cycle.

    >>> module = ClassifierModule(SmallResNet(num_classes=10), classes=10, lr=0.1, weight_decay=5e-4)

    Args:
        network: network (B, C, H, W) → (B, classes).
        classes: number of classes.
        lr: peak learning rate.
        weight_decay: weight decay of all parameters.
        label_smoothing: label smoothing of the cross-entropy.
    """

    def __init__(
        self, network: nn.Module, classes: int, lr: float, weight_decay: float, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        # convolutions run up to twice as fast with channels last in memory; the results do not change
        last = _channels_last_is_safe(network)
        self.network = network.to(memory_format=torch.channels_last) if last else network
        self.lr, self.weight_decay, self.label_smoothing = lr, weight_decay, label_smoothing
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.network(x), y, label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, batch_size=len(y), prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.accuracy(self.network(x), y)
        self.log("val/accuracy", self.accuracy, on_epoch=True, batch_size=len(y), prog_bar=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.parameters(), self.lr, momentum=0.9, weight_decay=self.weight_decay, nesterov=True
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _channels_last_is_safe(network: nn.Module) -> bool:
    """Whether all strided 1x1 convolutions have multiples of 8 channels.

    Otherwise, on CPUs without AVX-512, the convolution's gradient writes past the end of its buffer (a bug of oneDNN in
    torch 2.15).
    """
    pointwise = [m for m in network.modules() if isinstance(m, nn.Conv2d) and set(m.kernel_size) == {1}]
    return all(m.in_channels % 8 == m.out_channels % 8 == 0 for m in pointwise if set(m.stride) != {1})
