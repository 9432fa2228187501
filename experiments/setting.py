"""A setting, shared by many conditions: prepared data, a backbone trained on a part of it, and the chosen taps."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from dynaxx.data import load_prepared, prepare
from dynaxx.evaluation.arms import Task
from dynaxx.evaluation.arms.anchors import store_of
from dynaxx.evaluation.arms.resonant import with_readout
from dynaxx.files import write_text
from dynaxx.selection import select_layers
from dynaxx.training.pretrained import provide_backbone
from experiments.published import published_task
from pipelines.common.source import open_source


def changed(params: DictConfig, changes: Mapping[str, Any]) -> DictConfig:
    """A copy of `params` with changed values; a value replaces the old one and is not merged with it.

    >>> changed(params, {"resonance.T": 8}).resonance.T
    8

    Raises:
        ValueError: a key that does not exist.
    """
    copy: Any = OmegaConf.create(OmegaConf.to_container(params))
    for key, value in changes.items():
        if OmegaConf.select(copy, key, default=OmegaConf) is OmegaConf:
            raise ValueError(f"{key}={value!r}: params.yaml has no such key")
        OmegaConf.update(copy, key, value, merge=False)
    assert isinstance(copy, DictConfig)
    return copy


def build_setting(
    params: DictConfig, folder: Path, features: Path, make_task: Callable[..., Task] = published_task
) -> None:
    """Prepare the data, train the backbone and choose the taps, except for parts that exist already."""
    prepared_at, trained_at, chosen_at = folder / "prepare", folder / "pretrain", folder / "select_layers"
    data = params.data
    if not (prepared_at / "manifest.json").exists():
        prepare(
            open_source(data),
            prepared_at,
            pretrain_fraction=data.pretrain_fraction,
            groups=data.groups,
            split_seed=data.split_seed,
        )
    found = "given"
    if not (trained_at / "backbone.json").exists():
        trained_at.mkdir(parents=True, exist_ok=True)
        found = provide_backbone(params, load_prepared(prepared_at), trained_at, folder / "checkpoints")
    if not (chosen_at / "selection.json").exists():
        task = make_task(params, taps=[], root=folder, cache=features)
        train, _ = task.split(0)
        selection = select_layers(
            task.kind,
            task.backbone(),
            task.images.subset(train),
            task.normalisation,
            layers=params.select.layers,
            taps=params.select.taps,
            folds=params.select.folds,
            max_images=params.select.max_images,
            seed=0,
            options=with_readout(task, task.resonance),
        )
        chosen_at.mkdir(parents=True, exist_ok=True)
        selection.write(chosen_at / "selection.json")
    write_text(folder / "backbone.json", json.dumps({"backbone": found}) + "\n")


def build_cache(params: DictConfig, folder: Path, features: Path) -> None:
    """Read the anchors from which the arms in this setting are trained."""
    task = published_task(params, root=folder, cache=features)
    store_of(task, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
