"""Training of LoRA, whole networks and MLPs with the same optimizer and schedule as the couplings."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from dynaxx.model import read_of
from dynaxx.tasks import Kind
from dynaxx.training.classifier_module import channels_last
from dynaxx.training.kind_module import KindModule, targets
from dynaxx.training.resonance_module import one_cycle, weight_penalty


class FinetuneModule(KindModule):
    """Training with the loss of the task kind, AdamW, and one learning-rate cycle.

    >>> module = FinetuneModule(network, Classification(), lr=1e-3, weight_decay=1e-4)

    Args:
        network: network whose parameters with requires_grad are trained.
        kind: the task kind, fitted to the training labels.
        judge: the kind that judges validation samples; None: `kind` itself.
        lr: peak learning rate.
        weight_decay: weight decay of trained parameters with two or more axes; biases and norm parameters have none.
        freeze_norm: whether batch norms and dropout stay in eval mode during training, as in a frozen backbone.
        head_penalty: factor of ‖W‖², W the weight of a resonant model's head, as its linear fit had it.
    """

    def __init__(
        self,
        network: nn.Module,
        kind: Kind,
        *,
        judge: Kind | None = None,
        lr: float,
        weight_decay: float,
        freeze_norm: bool = False,
        head_penalty: float = 0.0,
    ) -> None:
        super().__init__(kind, judge)
        self.network = channels_last(network)
        self.lr, self.weight_decay, self.freeze_norm = lr, weight_decay, freeze_norm
        self.head_penalty = head_penalty

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; with frozen norms the network itself stays in eval mode."""
        super().train(mode)
        # not the network's own method: that of a resonant model would leave its backbone in eval mode
        nn.Module.train(self.network, mode and not self.freeze_norm)
        return self

    def forward(self, x: Any, sources: Any = None) -> Any:
        given = read_of(self.network, sources or {})
        return self.network(x, sources=given) if given else self.network(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, sources = targets(batch)
        loss = self.kind.loss(self(x, sources), y) + weight_penalty(self.network, self.head_penalty)
        self.log("train/loss", loss, batch_size=len(y), prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, sources = targets(batch)
        self.log_score(self(x, sources), y)

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return one_cycle(torch.optim.AdamW(groups, self.lr), self.lr, int(self.trainer.estimated_stepping_batches))
