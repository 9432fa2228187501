"""The arm `explicit`: the loop, trained on labels."""

from pathlib import Path

from torch import nn

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.resonant import resonant, train_resonant
from dynaxx.evaluation.arms.task import LoggerFactory, Task
from dynaxx.training.callbacks import ResidualGuard, StrengthWarmup
from dynaxx.training.resonance_module import ResonanceModule


def train(task: Task, seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
    """Train couplings, gates and head with the task's options."""
    model = resonant(task, seed, mode="explicit")
    notes: dict[str, float | int | str] = {"rank": model.config.rank, "T": model.T}
    if task.train.pretrained is not None:
        model.start_from(task.train.pretrained)
        notes["pretrained"] = task.train.pretrained
    train_on_labels(task, seed, model, out, checkpoints, logger, arm="explicit", notes=notes)


def train_on_labels(
    task: Task,
    seed: int,
    model: ResonantModel,
    out: Path,
    checkpoints: Path,
    logger: LoggerFactory,
    *,
    arm: str,
    notes: dict[str, float | int | str],
    residual_penalty: float | None = None,
) -> None:
    """Train all that is trainable in `model`, in its mode, on the labels; the recipe of every arm but `implicit`."""
    budget = task.train

    def module(tail: nn.Module | None) -> ResonanceModule:
        return ResonanceModule(
            model,
            classes=task.classes,
            lr=budget.lr,
            weight_decay=budget.weight_decay,
            residual_penalty=budget.residual_penalty if residual_penalty is None else residual_penalty,
            residual_share=budget.residual_share,
            label_smoothing=budget.label_smoothing,
            tail=tail,
            backbone_lr=budget.backbone_lr,
        )

    callbacks = [ResidualGuard(), StrengthWarmup(budget.warmup)]
    train_resonant(
        task,
        seed,
        model,
        module,
        out,
        checkpoints,
        arm=arm,
        logger=logger,
        epochs=budget.epochs,
        callbacks=list(callbacks),
        keep_statistics="pretrained" in notes,
        notes=notes,
    )
