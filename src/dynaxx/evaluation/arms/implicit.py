"""The arm `implicit`: a single-pass student, distilled from the trained `explicit` model of the same seed."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.record import ArmRecord, load_arm
from dynaxx.evaluation.arms.resonant import train_resonant
from dynaxx.evaluation.arms.task import Run, Task
from dynaxx.training.distill_module import DistillModule
from dynaxx.training.resonance_module import ResonanceModule


@dataclass(frozen=True)
class DistillOptions:
    """Training budget and loss weights of the distillation."""

    epochs: int
    """Number of passes over the training images."""
    lr: float
    """Peak learning rate of the student."""
    kl_weight: float
    """Loss weight of the divergence of the student's outputs from the teacher's; see `Kind.divergence`."""
    states_weight: float
    """Loss weight of predicting the loop's final state from its later states, a second task of the student."""


def train(task: Task, run: Run, *, teacher: Path, options: DistillOptions) -> None:
    """Distil the `explicit` model in the folder `teacher` on its training images; only the student is trained."""
    model = load_arm(teacher, task.backbone())
    assert isinstance(model, ResonantModel)
    model.add_student()
    kind, judge = task.kinds(run.seed)

    def module(tail: nn.Module | None) -> ResonanceModule:
        return DistillModule(
            model,
            kind,
            judge=judge,
            lr=options.lr,
            kl_weight=options.kl_weight,
            states_weight=options.states_weight,
            weight_decay=task.train.weight_decay,
            tail=tail,
        )

    model.mode = "implicit"
    train_resonant(
        task,
        run,
        model,
        module,
        arm="implicit",
        epochs=options.epochs,
        callbacks=[],
        before=0.0,
        teacher=ArmRecord.read(teacher),
    )
