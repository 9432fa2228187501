"""Training of a resonant model: couplings, gates and head of the loop, or student and head of a one-pass competitor."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from dynaxx import Anchors, ResonanceOutput, ResonantModel
from dynaxx.backbone import Tail
from dynaxx.model import extra_losses
from dynaxx.tasks import Kind
from dynaxx.training.kind_module import KindModule, targets


class ResonanceModule(KindModule):
    """Training with the loss of the task kind and, if the loop runs, a penalty on the loop's residual.

        loss = kind's + penalty · mean over samples and taps of ‖F_l(Δ) - Δ_l‖ / ‖F_l(Δ)‖ after T iterations

    >>> module = ResonanceModule(model, Classification(), lr=1e-3)

    Args:
        model: model whose trainable parameters are trained, in its current mode.
        kind: the task kind, fitted to the training labels.
        judge: the kind that judges validation samples; None: `kind` itself.
        lr: peak learning rate of one cycle of AdamW.
        weight_decay: weight decay of couplings, gates and student; head and biases have none.
        residual_penalty: weight of the penalty, used only with `stability="regularized"`.
        residual_share: share of each batch on which the penalty is computed. The extra cost is this share of one loop
            iteration. Samples are in random order, so any part of a batch is a fair sample.
        head_penalty: factor of ‖W‖², W the weight of the head, as its linear fit had it.
        tail: the layers after the tapped layers, for batches of cached activations (`Anchors`); None for images.
        backbone_lr: peak learning rate of the backbone, which is unfrozen; None: the backbone stays frozen.
    """

    def __init__(
        self,
        model: ResonantModel,
        kind: Kind,
        *,
        judge: Kind | None = None,
        lr: float,
        weight_decay: float = 1e-4,
        residual_penalty: float = 1.0,
        residual_share: float = 0.25,
        head_penalty: float = 0.0,
        tail: Tail | None = None,
        backbone_lr: float | None = None,
    ) -> None:
        super().__init__(kind, judge)
        self.model, self.backbone_lr = model, backbone_lr
        if backbone_lr is not None:
            model.unfreeze_backbone()
        self.lr, self.weight_decay = lr, weight_decay
        self.residual_penalty, self.residual_share = residual_penalty, residual_share
        self.head_penalty = head_penalty
        # the tail shares the backbone's modules; the tuple keeps it from being registered and saved a second time
        self._tail = (tail,)
        self.val_loss, self.val_residual = MeanMetric(), MeanMetric()
        self.strict_loading = False

    @property
    def cached(self) -> bool:
        """Whether batches hold cached activations of the tapped layers (anchors) instead of images."""
        return self._tail[0] is not None

    def forward(
        self, batch: Anchors | Tensor, sources: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, ResonanceOutput]:
        """Outputs and `ResonanceOutput` of a batch of images with their sources, or of cached activations (anchors)."""
        tail = self._tail[0]
        if isinstance(batch, Anchors):
            assert tail is not None, "batches of anchors need the tail"
            seen, agreement = self.model.refine(batch)
            return self.model.run_tail(seen, tail, batch.outside), agreement
        with self.model.observed() as agreements:
            output = self.model(batch, sources=sources) if sources else self.model(batch)
        return output, agreements[0]

    def loss(self, batch: Anchors | Tensor, y: Tensor, sources: Mapping[str, Tensor] | None = None) -> Tensor:
        output, agreement = self(batch, sources)
        loss = self.kind.loss(output, y) + weight_penalty(self.model, self.head_penalty)
        extra = extra_losses([agreement], self.model.config, weight=self.residual_penalty, share=self.residual_share)
        if "residual" in extra:
            self._log_mean("train/residual", extra["residual"] / self.residual_penalty, len(y))
        if agreement.fallback is not None:
            self._log_mean("train/fallback", agreement.fallback.float().mean(), len(y))
        return loss + torch.stack(list(extra.values())).sum() if extra else loss

    def _log_mean(self, name: str, value: Tensor, samples: int) -> None:
        """Log the mean over the samples of an epoch, in all processes."""
        self.log(name, value.detach(), batch_size=samples, on_step=False, on_epoch=True, sync_dist=True)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y, sources = targets(batch)
        loss = self.loss(x, y, sources)
        self.log(
            "train/loss", loss.detach(), batch_size=len(y), on_step=False, on_epoch=True, prog_bar=True, sync_dist=True
        )
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y, sources = targets(batch)
        output, agreement = self(x, sources)
        self.val_loss.update(self.kind.loss(output, y), weight=len(y))
        self.log("val/loss", self.val_loss, on_epoch=True, batch_size=len(y))
        self.log_score(output, y)
        if agreement.residual is not None:
            self.val_residual.update(agreement.residual(len(y)))
            self.log("val/residual", self.val_residual, on_epoch=True, batch_size=len(y))

    def configure_optimizers(self) -> Any:
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not name.startswith("backbone."):
                undecayed = ".head." in name or name.endswith((".b", "bias", ".factor"))
                (free if undecayed else decayed).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": free, "weight_decay": 0.0},
        ]
        rates = [self.lr, self.lr]
        if self.backbone_lr is not None:
            tuned = [parameter for parameter in self.model.backbone.parameters() if parameter.requires_grad]
            groups.append({"params": tuned, "weight_decay": self.weight_decay})
            rates.append(self.backbone_lr)
        return one_cycle(torch.optim.AdamW(groups, self.lr), rates, int(self.trainer.estimated_stepping_batches))

    def moves(self, name: str) -> bool:
        """Whether training can change the tensor of this name; False for tensors of a frozen backbone."""
        return self.backbone_lr is not None or not name.startswith("model.backbone.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Exclude a frozen backbone from checkpoints, because its weights are large and stored elsewhere."""
        checkpoint["state_dict"] = {n: t for n, t in checkpoint["state_dict"].items() if self.moves(n)}


def weight_penalty(network: nn.Module, factor: float) -> Tensor | float:
    """factor · ‖W‖², W the weight of a resonant model's new head; 0 without one.

    >>> weight_penalty(torch.nn.Linear(2, 2), 1.0)
    0.0
    """
    if factor == 0 or not isinstance(network, ResonantModel) or network.head is None:
        return 0.0
    return factor * network.head.weight.square().sum()


def one_cycle(optimizer: torch.optim.Optimizer, lr: float | list[float], steps: int) -> dict[str, Any]:
    """An optimizer with one learning-rate cycle of `steps` steps, in Lightning's format.

    >>> one_cycle(torch.optim.AdamW(model.parameters()), lr=1e-3, steps=100)["lr_scheduler"]["interval"]
    'step'

    Args:
        optimizer: optimizer with one or more groups of parameters.
        lr: peak learning rate, or one per group of parameters.
        steps: number of steps of the cycle.
    """
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(steps, 2))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
