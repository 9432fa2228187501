"""Supervised training of a whole network, such as the small backbone that replaces a user's model."""

from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.tasks import Classification, Kind
from dynaxx.training.kind_module import KindModule


class ClassifierModule(KindModule):
    """Training with the loss of the task kind, SGD with Nesterov momentum, and one learning-rate cycle.

    >>> module = ClassifierModule(SmallResNet(num_classes=10), lr=0.1, weight_decay=5e-4)

    Args:
        network: network (B, C, H, W) → (B, classes).
        lr: peak learning rate.
        weight_decay: weight decay of all parameters.
        kind: the task kind, whose loss is trained with; None: classification.
    """

    def __init__(self, network: nn.Module, lr: float, weight_decay: float, kind: Kind | None = None) -> None:
        super().__init__(kind or Classification())
        self.network = channels_last(network)
        self.lr, self.weight_decay = lr, weight_decay

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.kind.loss(self.network(x), y)
        self.log("train/loss", loss, batch_size=len(y), prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log_score(self.network(x), y)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.parameters(), self.lr, momentum=0.9, weight_decay=self.weight_decay, nesterov=True
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def channels_last(network: nn.Module) -> nn.Module:
    """The network with channels last in memory, where its convolutions then run up to twice as fast, and alike."""
    return network.to(memory_format=torch.channels_last) if _channels_last_is_safe(network) else network


def _channels_last_is_safe(network: nn.Module) -> bool:
    """Whether all strided 1x1 convolutions have multiples of 8 channels.

    Otherwise, on CPUs without AVX-512, the convolution's gradient writes past the end of its buffer (a bug of oneDNN in
    torch 2.15).
    """
    pointwise = [m for m in network.modules() if isinstance(m, nn.Conv2d) and set(m.kernel_size) == {1}]
    return all(m.in_channels % 8 == m.out_channels % 8 == 0 for m in pointwise if set(m.stride) != {1})
