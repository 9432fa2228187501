"""Distillation of the student: this network predicts the loop's fixed point in one pass, for the implicit mode."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dynaxx import Anchors, ResonantModel
from dynaxx.tasks import Kind
from dynaxx.training.resonance_module import ResonanceModule


class DistillModule(ResonanceModule):
    """Training of only the student (the one-pass network of the implicit mode); the model's own loop is its teacher.

        loss = ‖σ U (ĉ - c*)‖² / ‖σ U c*‖² + kl_weight · D(loop's outputs ‖ student's outputs)

    D is the divergence of the task kind: of classes, the Kullback-Leibler divergence.

    >>> module = DistillModule(model, Classification(), lr=1e-3, kl_weight=0.5)

    Args:
        model: model with a student, already trained in explicit mode; this module freezes all but the student.
        kind: the task kind.
        lr: peak learning rate.
        kl_weight: weight of the divergence; 0 disables the term.
        states_weight: weight of the same squared error, averaged over predictions that start from later loop states.
        **options: options of `ResonanceModule`.
    """

    def __init__(
        self,
        model: ResonantModel,
        kind: Kind,
        *,
        lr: float,
        kl_weight: float,
        states_weight: float = 0.0,
        **options: object,
    ) -> None:
        super().__init__(model, kind, lr=lr, residual_penalty=0.0, **options)  # type: ignore[arg-type]
        model.requires_grad_(False)
        student = model.require_built().student
        assert student is not None
        student.requires_grad_(True)
        self.kl_weight, self.states_weight = kl_weight, states_weight

    def loss(self, batch: Anchors | Tensor, y: Tensor, sources: Mapping[str, Tensor] | None = None) -> Tensor:
        with torch.no_grad(), self.model.override(mode="explicit"):
            target, taught = self(batch, sources)
        assert taught.distillation_loss is not None
        loss = taught.distillation_loss(self.states_weight)
        if self.kl_weight > 0:
            output, _ = self(batch, sources)
            loss = loss + self.kl_weight * self.kind.divergence(output, target)
        return loss
