"""Stage `select_layers`: score the candidate layers, and choose taps with a reason."""

import torch
from omegaconf import DictConfig
from torch import Tensor

from dynaxx.evaluation.arms import Task
from dynaxx.evaluation.arms.anchors import store_of
from dynaxx.evaluation.arms.readout import with_readout
from dynaxx.selection import LAST, Selection, select_layers
from pipelines.common.adapt import adapted, folds_for, limit_of_folds
from pipelines.common.stage import Stage, run
from pipelines.common.task import build_task

MOST = 250_000_000
"""Largest number of values in all positions of all layers and images that are held at once."""


def chosen_layers(params: DictConfig, task: Task) -> Selection:
    """The selection configured by `params.select`, scored on the training images of the first seed."""
    options, seed = params.select, params.task.seeds[0]
    train, _ = task.split(seed)
    images = task.images.subset(train)
    return select_layers(
        task.kind,
        task.backbone(),
        images,
        task.normalisation,
        layers=options.layers,
        taps=options.taps,
        folds=folds_for(options.folds, images),
        max_images=options.max_images,
        seed=seed,
        options=with_readout(task, task.resonance),
        features=_features(task, train),
    )


def _features(task: Task, index: Tensor) -> dict[str, Tensor] | None:
    """What the layers show of the images `index`, from the anchors of the task; None if they are not there."""
    store = store_of(task)
    readout, view = "map" if task.kind.readout == "map" else "moments", torch.zeros_like(index)
    if store is None or (readout == "map" and sum(tap[0, 0].numel() for tap in store.pooled) * len(index) > MOST):
        return None
    found = {path: store.features([path], readout, view, index) for path in store.paths}
    with_head = readout == "moments" and store.head is not None
    last = store.features([], "classifier", view, index) if with_head else found[store.paths[-1]]
    return found | {LAST: last}


def body(stage: Stage) -> str:
    """Run the stage; returns the line that it prints."""
    task = build_task(stage.params, taps=[])
    selection = chosen_layers(stage.params, task)
    selection.write(stage.out / "selection.json")
    wanted = stage.params.select.folds
    images = task.images.subset(task.split(stage.params.task.seeds[0])[0])
    told = adapted(
        "select.folds",
        wanted,
        folds_for(wanted, images),
        limit_of_folds(images)[1],
    )
    return f"{', '.join(selection.chosen)}: {selection.reason}{told}"


if __name__ == "__main__":
    run("select_layers", body)
