"""Training what resonance trains: couplings, gates and head (or, for one-pass rivals, student and head)."""

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from dynaxx import Anchors, ResonanceOutput, ResonantModel


class ResonanceModule(pl.LightningModule):
    """Cross-entropy plus, where the loop runs, the residual penalty that teaches it to settle.

    See docs/theory.md#stability.

        loss = CE(logits, y) + penalty · mean over samples and taps of ‖F_l(Δ) - Δ_l‖ / ‖F_l(Δ)‖ after T iterations

    Args:
        model: its trainable parameters are trained, in the mode it is in.
        classes: number of classes.
        lr: peak learning rate of one cycle of AdamW.
        weight_decay: on couplings, gates and student; the head and biases have none.
        residual_penalty: weight of the penalty, for a model with `stability="regularized"` alone.
        residual_share: share of each batch on which the penalty is computed; batches come in random order, so a part
            of one is a fair sample of it, and costs that part of an iteration.
        label_smoothing: of the cross-entropy.
        tail: what lies behind the taps, for batches of `Anchors`; None where batches are images.
        backbone_lr: peak learning rate of the backbone, which is unfrozen; None leaves it frozen.
    """

    def __init__(
        self,
        model: ResonantModel,
        *,
        classes: int,
        lr: float,
        weight_decay: float = 1e-4,
        residual_penalty: float = 1.0,
        residual_share: float = 0.25,
        label_smoothing: float = 0.0,
        tail: nn.Module | None = None,
        backbone_lr: float | None = None,
    ) -> None:
        super().__init__()
        self.model, self.backbone_lr = model, backbone_lr
        if backbone_lr is not None:
            model.unfreeze_backbone()
        self.lr, self.weight_decay = lr, weight_decay
        self.residual_penalty = residual_penalty if model.config.stability == "regularized" else 0.0
        self.residual_share = residual_share
        self.label_smoothing = label_smoothing
        # the tail shares the backbone's modules: kept in a tuple, it is not registered (and saved) a second time
        self._tail = (tail,)
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        # sums and counts, and not means of batches: of several processes the last batches differ in size
        self.val_loss, self.val_residual = MeanMetric(), MeanMetric()
        self.strict_loading = False

    @property
    def cached(self) -> bool:
        """Whether batches are anchors read earlier."""
        return self._tail[0] is not None

    def forward(self, batch: Anchors | Tensor) -> tuple[Tensor, ResonanceOutput]:
        """Logits and agreement of a batch of images, or of anchors read earlier."""
        tail = self._tail[0]
        if isinstance(batch, Anchors):
            assert tail is not None, "batches of anchors need the tail"
            seen, agreement = self.model.refine(batch)
            return self.model.run_tail(seen, tail), agreement
        with self.model.observed() as agreements:
            logits = self.model(batch)
        return logits, agreements[0]

    def loss(self, batch: Anchors | Tensor, y: Tensor) -> Tensor:
        logits, agreement = self(batch)
        loss = F.cross_entropy(logits, y, label_smoothing=self.label_smoothing)
        if self.residual_penalty > 0 and agreement.residual is not None:
            residual = agreement.residual(max(1, round(self.residual_share * len(y)))).mean()
            self.log(
                "train/residual", residual.detach(), batch_size=len(y), on_step=False, on_epoch=True, sync_dist=True
            )
            loss = loss + self.residual_penalty * residual
        if agreement.extra_loss is not None:  # it trains the gates' critic alone, so its weight weighs against nothing
            loss = loss + agreement.extra_loss
        return loss

    def training_step(self, batch: tuple[Anchors | Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = self.loss(x, y)
        self.log(
            "train/loss", loss.detach(), batch_size=len(y), on_step=False, on_epoch=True, prog_bar=True, sync_dist=True
        )
        return loss

    def validation_step(self, batch: tuple[Anchors | Tensor, Tensor], batch_idx: int) -> None:
        x, y = batch
        logits, agreement = self(x)
        self.val_loss.update(F.cross_entropy(logits, y, reduction="none"))
        self.log("val/loss", self.val_loss, on_epoch=True, batch_size=len(y))
        self.accuracy(logits, y)
        self.log("val/accuracy", self.accuracy, on_epoch=True, batch_size=len(y), prog_bar=True)
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
        """Whether training can move the tensor of this name: a frozen backbone's it does not."""
        return self.backbone_lr is not None or not name.startswith("model.backbone.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave a frozen backbone out: it is large, and it is where it came from."""
        checkpoint["state_dict"] = {n: t for n, t in checkpoint["state_dict"].items() if self.moves(n)}


def one_cycle(optimizer: torch.optim.Optimizer, lr: float | list[float], steps: int) -> dict[str, Any]:
    """An optimizer with one learning-rate cycle of `steps` steps, as Lightning wants it.

    Args:
        lr: peak learning rate, or one for each group of parameters.
    """
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(steps, 2))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
