"""Training of the arms that change the backbone itself: LoRA and full fine-tuning."""

from collections.abc import Callable

from torch import nn

from dynaxx.backbone import find_classifier
from dynaxx.evaluation.arms.recipe import fit_arm, image_data
from dynaxx.evaluation.arms.record import ArmRecord, load_probe, save_backbone
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.training.distributed import rank_zero
from dynaxx.training.finetune_module import FinetuneModule


def initial_network(task: Task, seed: int) -> nn.Module:
    """The task's backbone; a new head starts as the linear probe of the arm `baseline` with the same seed."""
    backbone = task.backbone()
    if task.head == "probe":
        backbone.set_submodule(find_classifier(backbone, None)[0], load_probe(task.probes / f"seed-{seed}"))
    return backbone


def train_network(
    task: Task,
    run: Run,
    network: nn.Module,
    *,
    arm: str,
    freeze_norm: bool,
    finish: Callable[[nn.Module], nn.Module] = lambda network: network,
    notes: Notes | None = None,
) -> None:
    """Train all parameters of `network` that require gradients, and save the whole network.

    >>> train_network(task, run, initial_network(task, run.seed), arm="full_finetune", freeze_norm=False)
    >>> ArmRecord.read(run.out).kind
    'network'

    Args:
        freeze_norm: whether the batch norms of the network keep their running statistics.
        finish: function from the trained network to the network that is saved, for example with merged adapters.
    """
    budget = task.train
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    module = FinetuneModule(
        network, task.classes, budget.lr, budget.weight_decay, budget.label_smoothing, freeze_norm=freeze_norm
    )
    accuracy, seconds = fit_arm(task, run, module, image_data(task, run.seed))
    if not rank_zero():
        return
    run.out.mkdir(parents=True, exist_ok=True)
    save_backbone(run.out, finish(module.network))
    if task.head == "probe":
        seconds += ArmRecord.read(task.probes / f"seed-{run.seed}").train_seconds  # its head started from that probe
    ArmRecord(arm, run.seed, "network", [], trained, trained, seconds, accuracy, notes or {}).write(run.out)
