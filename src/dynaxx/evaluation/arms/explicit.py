"""The arm `explicit`, its control `explicit_T1` and its variants: the loop, trained on labels.

- `explicit` trains couplings, gates and head with the options of the task.
- `explicit_T1` runs the same couplings once. Its rank is raised until the parameter counts match.
- A variant differs from `explicit` in one option (`Arm.options` in the registry): `explicit_monitored`,
  `explicit_certified`, `hybrid` and `reentrant`.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.matching import explicit_parameters, matched_rank
from dynaxx.evaluation.arms.resonant import ANCHORED, resonant, train_resonant
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.training.callbacks import ResidualGuard, StrengthWarmup
from dynaxx.training.resonance_module import ResonanceModule


def train(task: Task, run: Run) -> None:
    """Train `explicit` with the options of the task."""
    model = resonant(task, run.seed, mode="explicit")
    notes: Notes = {"rank": model.config.rank, "T": model.T}
    if task.train.pretrained is not None:
        model.start_from(task.train.pretrained)
        notes["pretrained"] = task.train.pretrained
    train_on_labels(task, run, model, arm="explicit", notes=notes)


def train_single_pass(task: Task, run: Run) -> None:
    """Train `explicit_T1` at the rank that gives it as many live parameters as `explicit`."""
    target = explicit_parameters(task, run.seed)
    rank = matched_rank(lambda rank: resonant(task, run.seed, T=1, rank=rank, **ANCHORED), target)
    model = resonant(task, run.seed, mode="explicit", T=1, rank=rank, **ANCHORED)
    # nothing feeds back into what the only messages read: the residual is 1 - λ whatever is trained
    train_on_labels(task, run, model, arm="explicit_T1", notes={"rank": rank, "T": 1}, residual_penalty=0.0)


def train_variant(arm: str, options: Mapping[str, Any], task: Task, run: Run) -> None:
    """Train `explicit` with other `options`; everything else is unchanged."""
    model = resonant(task, run.seed, **({"mode": "explicit"} | dict(options)))
    train_on_labels(task, run, model, arm=arm, notes={"rank": model.config.rank, "T": model.T, **options})


def train_on_labels(
    task: Task, run: Run, model: ResonantModel, *, arm: str, notes: Notes, residual_penalty: float | None = None
) -> None:
    """Train all trainable parameters of `model` on the labels, in its mode; every arm but `implicit` does so."""
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

    train_resonant(
        task,
        run,
        model,
        module,
        arm=arm,
        epochs=budget.epochs,
        callbacks=[ResidualGuard(), StrengthWarmup(budget.warmup)],
        keep_statistics="pretrained" in notes,
        notes=notes,
    )
