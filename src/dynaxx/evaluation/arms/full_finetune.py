"""The arm `full_finetune`: all weights of the backbone train, and its batch norms update their statistics."""

from dynaxx.evaluation.arms.network import initial_network, train_network
from dynaxx.evaluation.arms.task import Run, Task


def train(task: Task, run: Run) -> None:
    """Train the whole network on the labels."""
    network = initial_network(task, run.seed).requires_grad_(True)
    train_network(task, run, network, arm="full_finetune", freeze_norm=False)
