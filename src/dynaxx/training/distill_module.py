"""Distillation: the gating network learns to predict in one pass where the loop settles (DESIGN §2, implicit)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.resonance import Anchors, ResonantModel
from dynaxx.training.resonance_module import ResonanceModule


class DistillModule(ResonanceModule):
    """Trains the student alone, against the loop of the same model:

        loss = ‖U ĉ - U c*‖² / ‖U c*‖² + kl_weight · KL(loop's logits ‖ student's logits)

    Args:
        model: trained in explicit mode, with a student; everything but the student is frozen here.
        lr: peak learning rate.
        kl_weight: weight of the second term; 0 leaves it out.
        **options: see `ResonanceModule`.
    """

    def __init__(self, model: ResonantModel, *, lr: float, kl_weight: float, **options: object) -> None:
        super().__init__(model, lr=lr, residual_penalty=0.0, **options)  # type: ignore[arg-type]
        model.requires_grad_(False)
        student = model.built().student
        assert student is not None
        student.requires_grad_(True)
        self.kl_weight = kl_weight

    def loss(self, batch: Anchors | Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            self.model.mode = "explicit"
            target, taught = self(batch)
        self.model.mode = "implicit"
        logits, learned = self(batch)
        loss = (learned.delta - taught.delta).square().mean() / taught.delta.square().mean().clamp_min(1e-12)
        if self.kl_weight > 0:
            kl = F.kl_div(logits.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean")
            loss = loss + self.kl_weight * kl
        return loss
