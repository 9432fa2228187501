"""What arms share that change the backbone itself: LoRA and full fine-tuning."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from dynaxx.backbone import find_classifier
from dynaxx.evaluation.arms.images import image_data
from dynaxx.evaluation.arms.recipe import fit_arm
from dynaxx.evaluation.arms.record import ArmFacts, load_probe, save_backbone
from dynaxx.evaluation.arms.task import LoggerFactory, Task
from dynaxx.training.distributed import rank_zero
from dynaxx.training.finetune_module import FinetuneModule


def starting(task: Task, seed: int) -> nn.Module:
    """The task's backbone; where the task is new to it, the baseline's converged probe answers in its head's place."""
    backbone = task.backbone()
    if task.head == "probe":
        backbone.set_submodule(find_classifier(backbone, None)[0], load_probe(task.probes / f"seed-{seed}"))
    return backbone


def train_network(
    task: Task,
    seed: int,
    network: nn.Module,
    out: Path,
    checkpoints: Path,
    logger: LoggerFactory,
    *,
    arm: str,
    still: bool,
    finish: Callable[[nn.Module], nn.Module] = lambda network: network,
    notes: dict[str, float | int | str] | None = None,
) -> None:
    """Train all of `network` that requires gradients, and write it whole.

    Args:
        still: whether its batch norms stand still.
        finish: makes of the trained network the plain one that is kept.
    """
    budget = task.train
    trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    module = FinetuneModule(network, task.classes, budget.lr, budget.weight_decay, budget.label_smoothing, still=still)
    accuracy, seconds = fit_arm(task, module, image_data(task, seed), seed, checkpoints, logger)
    if not rank_zero():
        return
    out.mkdir(parents=True, exist_ok=True)
    save_backbone(out, finish(module.network))
    if task.head == "probe":
        seconds += ArmFacts.read(task.probes / f"seed-{seed}").train_seconds  # its head started from that probe
    ArmFacts(arm, seed, "network", [], trained, trained, seconds, accuracy, notes or {}).write(out)
