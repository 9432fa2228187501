"""The arm `explicit`, its control `explicit_T1` and its variants: iterated messages between layers, trained on labels.

- `explicit` trains couplings (low-rank maps between tapped layers), gates and head with the options of the task.
- `explicit_T1` applies the couplings in one iteration. Its rank is raised until its parameter count matches `explicit`.
- A variant differs from `explicit` in one option (`Arm.options` in the registry): `explicit_monitored`,
  `explicit_certified`, `hybrid` and `reentrant`.
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback

from dynaxx import ResonantModel
from dynaxx.backbone import Tail
from dynaxx.evaluation.arms.linear import start_head
from dynaxx.evaluation.arms.matching import count_trainable, matched_rank
from dynaxx.evaluation.arms.resonant import ANCHORED, train_resonant, wrapped
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.training.callbacks import DrawnIterations, ResidualGuard, StrengthWarmup
from dynaxx.training.resonance_module import ResonanceModule


def train(task: Task, run: Run) -> None:
    """Train the arm `explicit` with the adapter options of the task."""
    model = wrapped(task, run.seed, mode="explicit")
    notes: Notes = {"rank": model.config.rank, "T": model.T}
    if task.train.pretrained is not None:
        model.start_from(task.train.pretrained, strict=False)  # a start may come from another backbone, with a warning
        notes["pretrained"] = task.train.pretrained
    train_on_labels(task, run, model, arm="explicit", notes=notes)


def train_single_pass(task: Task, run: Run) -> None:
    """Train `explicit_T1`, at the rank with about as many parameters that affect the output as in `explicit`."""
    rank = one_iteration_rank(task, run.seed)
    model = wrapped(task, run.seed, mode="explicit", T=1, rank=rank, **ANCHORED)
    # nothing feeds back into what the only messages read: the residual is 1 - λ whatever is trained
    train_on_labels(task, run, model, arm="explicit_T1", notes={"rank": rank, "T": 1}, residual_penalty=0.0)


def one_iteration_rank(task: Task, seed: int) -> int:
    """The rank at which `explicit_T1` has about as many parameters as `explicit`."""
    model = wrapped(task, seed, mode="explicit")
    return matched_rank(model, count_trainable(model), {**ANCHORED, "T": 1})


def train_variant(arm: str, options: Mapping[str, Any], task: Task, run: Run) -> None:
    """Train a variant of `explicit` that differs from `explicit` only in the adapter `options`."""
    model = wrapped(task, run.seed, **({"mode": "explicit"} | dict(options)))
    train_on_labels(task, run, model, arm=arm, notes={"rank": model.config.rank, "T": model.T, **options})


def train_on_labels(
    task: Task, run: Run, model: ResonantModel, *, arm: str, notes: Notes, residual_penalty: float | None = None
) -> None:
    """Train the trainable parameters of `model` on labels; all adapter arms except `implicit` use this."""
    budget, (kind, judge) = task.train, task.kinds(run.seed)
    callbacks: list[Callback] = [ResidualGuard(), StrengthWarmup(budget.warmup)]
    if budget.iterations is not None and model.mode in ("explicit", "hybrid") and model.T > 1:
        least, most = budget.iterations
        callbacks.append(DrawnIterations(least, most, run.seed))
    start = start_head(task, run.seed, model)

    def module(tail: Tail | None) -> ResonanceModule:
        return ResonanceModule(
            model,
            kind,
            judge=judge,
            lr=budget.lr,
            weight_decay=budget.weight_decay,
            residual_penalty=budget.residual_penalty if residual_penalty is None else residual_penalty,
            residual_share=budget.residual_share,
            head_penalty=start.penalty,
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
        callbacks=callbacks,
        before=start.seconds,
        keep_statistics="pretrained" in notes,
        notes=notes,
    )
