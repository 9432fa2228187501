"""The arms `conv_2`, `conv_4`, `conv_8`, `conv_dilated` and `unet`: one pass over the grid, of the size of `explicit`.

They are for kinds that answer in every position, and have what the loop has: taps, sources, gates, its activation.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
from torch import nn

from dynaxx.evaluation.arms.grid_networks import GridNetwork, inner_network, save_grid_network
from dynaxx.evaluation.arms.matching import explicit_parameters, warn_of_another_size
from dynaxx.evaluation.arms.recipe import fit_arm
from dynaxx.evaluation.arms.record import ArmRecord
from dynaxx.evaluation.arms.resonant import source, wrapped
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.training.cache.batches import CachedData
from dynaxx.training.distributed import rank_zero
from dynaxx.training.finetune_module import FinetuneModule


def train(arm: str, options: Mapping[str, Any], task: Task, run: Run) -> None:
    """Train one of the arms on the same anchors as the arm `explicit`."""
    reader = wrapped(task, run.seed, mode="explicit", T=1, rank=1, gate="none")
    reader.requires_grad_(False)
    batches = source(task, run.seed, reader)
    started = time.perf_counter()
    if isinstance(batches.data, CachedData):
        batches.data.setup("fit")  # building the cache is counted once, below
        started = time.perf_counter()
    activation = str(task.resonance.get("activation", "gelu"))
    size = task.images.images.shape[-2:]

    def build(width: int) -> GridNetwork:
        return GridNetwork(reader, inner_network(reader, width, options, activation), task.outputs, size)

    width = nearest_width(build, explicit_parameters(task, run.seed))
    pl.seed_everything(run.seed, verbose=False)
    network = build(width)
    before = time.perf_counter() - started
    budget, (kind, judge) = task.train, task.kinds(run.seed)
    module = FinetuneModule(network, kind, judge=judge, lr=budget.lr, weight_decay=budget.weight_decay)
    score, seconds = fit_arm(task, run, module, batches.data)
    if not rank_zero():
        return
    save_grid_network(run.out, network)
    count, seconds = size_of_network(network), seconds + batches.seconds + before
    notes: Notes = {"width": width, "activation": activation, **{name: str(value) for name, value in options.items()}}
    ArmRecord(arm, run.seed, "grid", list(reader.paths), count, count, seconds, score, notes).write(run.out)


def nearest_width(build: Callable[[int], nn.Module], target: int) -> int:
    """The width with which the network has closest to `target` parameters; warns if none comes near.

    >>> nearest_width(lambda width: nn.Linear(4, width, bias=False), 40)
    10
    """
    width, sizes = 1, [size_of_network(build(1))]
    while sizes[-1] < target:
        width += 1
        sizes.append(size_of_network(build(width)))
    nearest = min(range(len(sizes)), key=lambda n: abs(sizes[n] - target))
    warn_of_another_size(sizes[nearest], target)
    return nearest + 1


def size_of_network(network: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
