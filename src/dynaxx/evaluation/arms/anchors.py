"""The anchors of a task's images: one pass of the backbone over each view of each, for all stages, arms and seeds."""

from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dynaxx import ResonanceError
from dynaxx.data import views
from dynaxx.evaluation.arms.readout import with_readout
from dynaxx.evaluation.arms.task import Task
from dynaxx.training.cache.build import TooLarge
from dynaxx.training.cache.reader import AnchorReader
from dynaxx.training.cache.store import AnchorStore, open_store, store_key

_opened: dict[str, AnchorStore | None] = {}
"""Folder of a store → the store, once in a process; None where there can be none."""


@cache
def tell(line: str) -> None:
    """Print a line once in a process, however many seeds it is true of."""
    print(line, flush=True)


def store_of(task: Task, device: torch.device | None = None) -> AnchorStore | None:
    """The store of all images of a task, for all layers that could be tapped; None if there can be none.

    It holds all views of the augmentation, or the image as it is alone where there are too many.

    >>> store_of(task).paths
    ['layer1', 'layer2', 'layer3', 'layer4']

    Args:
        device: device on which the backbone runs if the store is missing; None: the CPU.
    """
    layers = list(task.candidates or task.taps)
    if task.train.cache_limit_gb == 0 or not layers:
        return None
    options = with_readout(replace(task, taps=layers), task.resonance)
    size = min(task.images.images.shape[-2:])
    augmentation = task.train.augmentation if views(task.train.augmentation, size) is not None else "none"
    shown = views(augmentation, size)
    assert shown is not None
    key = store_key(layers, options, of=task.fingerprint, views=augmentation)
    name = str(task.cache.resolve() / key)
    if name not in _opened:
        readers: list[AnchorReader] = []

        def read(x: Tensor) -> tuple[dict[str, Tensor], dict[str, Any]]:
            if not readers:  # a store that stands needs none
                readers.append(AnchorReader(task.backbone().to(device or "cpu"), layers, task.example(), options))
            return readers[0](x)

        try:
            _opened[name] = open_store(
                task.cache, key, read, task.images.images, task.normalisation, shown, task.train.cache_limit_gb
            )
        except (TooLarge, ResonanceError) as error:
            tell(f"no anchors of all layers are kept, each choice of taps has its own: {error}")
            _opened[name] = None
    return _opened[name]
