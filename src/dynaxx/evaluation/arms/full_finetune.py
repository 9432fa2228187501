"""The arm `full_finetune`: every weight of the backbone is trained, its batch norms learn on."""

from pathlib import Path

from dynaxx.evaluation.arms.network import starting, train_network
from dynaxx.evaluation.arms.task import LoggerFactory, Task


def train(task: Task, seed: int, out: Path, checkpoints: Path, logger: LoggerFactory) -> None:
    """Train the whole network on the labels."""
    network = starting(task, seed).requires_grad_(True)
    train_network(task, seed, network, out, checkpoints, logger, arm="full_finetune", still=False)
