"""Lightning callbacks: the coupling strength's warm-up and reduction, best weights, finite values, runaway loops."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from dynaxx.training.kind_module import SCORE
from dynaxx.training.resonance_module import ResonanceModule

START_STRENGTH = 0.01
"""Coupling strength `s` at the start of the warm-up."""


class StrengthWarmup(Callback):
    """A linear increase of the coupling strength `s` from 0.01 to its configured value early in training.

    >>> trainer = lightning.pytorch.Trainer(callbacks=[StrengthWarmup(0.1)])

    Args:
        fraction: share of all training steps that the warm-up takes, in [0, 1]; 0 starts at full strength.
    """

    def __init__(self, fraction: float) -> None:
        self.fraction = fraction

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ResonanceModule)
        model = pl_module.model
        warm = self.fraction * float(trainer.estimated_stepping_batches)
        share = 1.0 if warm == 0 else min(1.0, trainer.global_step / warm)
        guard = trainer_guard(trainer)
        target = model.config.strength * (guard.factor if guard is not None else 1.0)
        model.require_built().exchange.strength.fill_(
            min(START_STRENGTH, target) + share * (target - min(START_STRENGTH, target))
        )


class DrawnIterations(Callback):
    """A number of iterations that is drawn anew for each training step, so that the answer must not depend on it.

    Validation has the model's own T. A step draws the same number whether training was interrupted or not.

    >>> trainer = lightning.pytorch.Trainer(callbacks=[DrawnIterations(12, 32, seed=0)])

    Source: a loop that is trained so goes on to larger inputs with more iterations (Bansal et al., End-to-end
    Algorithm Synthesis with Recurrent Networks, NeurIPS 2022; Anil et al., Path Independent Equilibrium Models, NeurIPS
    2022).

    Args:
        least, most: bounds of the number, both included.
        seed: seed of the draws.
    """

    def __init__(self, least: int, most: int, seed: int) -> None:
        self.least, self.most, self.seed = least, most, seed
        self.own: int | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ResonanceModule)
        if self.own is None:
            self.own = pl_module.model.T
        generator = torch.Generator().manual_seed((self.seed << 32) + trainer.global_step)
        pl_module.model.T = int(torch.randint(self.least, self.most + 1, (), generator=generator))

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore(pl_module)

    def _restore(self, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ResonanceModule)
        if self.own is not None:
            pl_module.model.T = self.own


class ResidualGuard(Callback):
    """A reduction of the coupling strength when the loop's validation residual is large and grew over an epoch.

    >>> trainer = lightning.pytorch.Trainer(callbacks=[ResidualGuard(), StrengthWarmup(0.1)])

    Args:
        cut: factor by which each reduction multiplies the strength.
        above: largest residual that counts as converged; the strength is reduced only above this value.
    """

    def __init__(self, cut: float = 0.5, above: float = 0.5) -> None:
        self.cut, self.above = cut, above
        self.factor = 1.0
        self.before: float | None = None

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        residual = trainer.callback_metrics.get("val/residual")
        if trainer.sanity_checking or residual is None:
            return
        now = float(residual)
        if self.before is not None and now > max(self.before, self.above):
            self.factor *= self.cut
        self.before = now

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self.factor, "before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.factor, self.before = state_dict["factor"], state_dict["before"]


class BestWeights(Callback):
    """A copy of the trained tensors from the epoch with the best validation score; of equal epochs, the latest."""

    def __init__(self) -> None:
        self.score: float | None = None  # no validation yet
        self.best: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        score = float(trainer.callback_metrics[SCORE])
        if not trainer.sanity_checking and (self.score is None or score >= self.score):
            self.score = score
            state = pl_module.state_dict()
            if isinstance(pl_module, ResonanceModule):
                state = {name: tensor for name, tensor in state.items() if pl_module.moves(name)}
            self.best = {name: tensor.detach().clone() for name, tensor in state.items()}

    def restore(self, pl_module: pl.LightningModule) -> None:
        """Load the stored tensors into the module."""
        pl_module.load_state_dict(self.best, strict=False)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score, self.best = state_dict["score"], state_dict["best"]


class RunawayStop(Callback):
    """The end of a training in which nothing is learned any more: the loop of every sample of an epoch ran away.

    >>> trainer = lightning.pytorch.Trainer(callbacks=[RunawayStop()])
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        share = trainer.callback_metrics.get("train/fallback")
        if share is not None and float(share) >= 1.0:
            trainer.should_stop = True
            rank_zero_warn(
                f"training stops after epoch {trainer.current_epoch}: all samples fell back to the backbone's own "
                "activations, so nothing is learned any more; lower train.lr or resonance.strength, and train again"
            )


class FiniteLoss(Callback):
    """An error with one clear line if the loss or a gradient is not finite, before the weights are updated.

    The gradients are also checked, because a gradient can overflow while the loss is finite.

    >>> trainer = lightning.pytorch.Trainer(callbacks=[FiniteLoss()])
    """

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.precision.startswith("16"):
            return  # overflows are normal in fp16; its gradient scaler skips these steps itself
        given = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        if torch.isfinite(torch.nn.utils.get_total_norm(given)):
            return  # one check for all gradients, because each check synchronises the GPU
        for name, parameter in pl_module.named_parameters():
            if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
                raise FloatingPointError(
                    f"the gradient of {name} is not finite in step {trainer.global_step}: lower the learning rate "
                    "(lr), and check data and weights for values that are not finite"
                )

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"train/loss is {float(loss.detach())} in step {trainer.global_step}: lower the learning rate (lr), "
                "and check data and weights for values that are not finite"
            )


def trainer_guard(trainer: pl.Trainer) -> ResidualGuard | None:
    """The trainer's ResidualGuard, or None."""
    return next((c for c in trainer.callbacks if isinstance(c, ResidualGuard)), None)  # type: ignore[attr-defined]
