"""Distillation: the gating network learns to predict in one pass where the loop settles (docs/theory.md#implicit)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx import Anchors, ResonantModel
from dynaxx.training.resonance_module import ResonanceModule


class DistillModule(ResonanceModule):
    """Trains the student alone, against the loop of the same model:

        loss = ‖σ U (ĉ - c*)‖² / ‖σ U c*‖² + kl_weight · KL(loop's logits ‖ student's logits)

    Args:
        model: trained in explicit mode, with a student; everything but the student is frozen here.
        lr: peak learning rate.
        kl_weight: weight of the second term; 0 leaves it out.
        states_weight: of the first term's mean over the loop's later states, from which the student then learns to find
            the end, too.
        **options: see `ResonanceModule`.
    """

    def __init__(
        self, model: ResonantModel, *, lr: float, kl_weight: float, states_weight: float = 0.0, **options: object
    ) -> None:
        super().__init__(model, lr=lr, residual_penalty=0.0, **options)  # type: ignore[arg-type]
        model.requires_grad_(False)
        student = model.require_built().student
        assert student is not None
        student.requires_grad_(True)
        self.kl_weight, self.states_weight = kl_weight, states_weight

    def loss(self, batch: Anchors | Tensor, y: Tensor) -> Tensor:
        with torch.no_grad(), self.model.override(mode="explicit"):
            target, taught = self(batch)
        assert taught.distillation_loss is not None
        loss = taught.distillation_loss(self.states_weight)
        if self.kl_weight > 0:
            logits, _ = self(batch)
            kl = F.kl_div(logits.log_softmax(1), target.log_softmax(1), log_target=True, reduction="batchmean")
            loss = loss + self.kl_weight * kl
        return loss
