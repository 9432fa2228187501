"""The arm `full_finetune`: all backbone weights are trained, and batch norms update their running statistics."""

from dynaxx import ResonantModel
from dynaxx.evaluation.arms.network import initial_network, train_network
from dynaxx.evaluation.arms.task import Run, Task


def train(task: Task, run: Run) -> None:
    """Train all weights of the backbone and its classifier on the labels."""
    network, start = initial_network(task, run.seed)
    if isinstance(network, ResonantModel):
        network.unfreeze_backbone()
    else:
        network.requires_grad_(True)
    train_network(task, run, network, arm="full_finetune", freeze_norm=False, start=start)
