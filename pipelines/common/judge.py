"""The settings judged against this machine: the data's classes, the model's name and weights, Lightning's Trainer.

`check_settings` judges values alone; these checks open files and import libraries, so only commands that start a
pipeline make them.
"""

import sys
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from dynaxx import ResonanceError
from dynaxx.data import DataError, TorchvisionSet
from dynaxx.tasks import KINDS
from pipelines.common.settings import SettingsError
from pipelines.common.source import open_source

DEFAULT_TRAINER = Path(__file__).resolve().parents[2] / "conf" / "trainer" / "cpu.yaml"


def judge(params: DictConfig) -> None:
    """Check that the data, the model and the trainer of these params exist and can be used here.

    >>> judge(read_params())

    Raises:
        ValueError: one of them cannot; the message names the key, its value, and what would do.
    """
    try:
        _judge_data(params)
        _judge_model(params)
        _judge_trainer(params)
    except InstantiationException as error:
        raise SettingsError(" ".join(str(error.__cause__ or error).split())) from None


def _judge_data(params: DictConfig) -> None:
    from dynaxx.data.groups import check_groups

    try:
        source = open_source(params.data)
    except InstantiationException as error:
        raise SettingsError(f"data.source: {' '.join(str(error.__cause__ or error).split())}") from None
    if not hasattr(source, "classes"):
        raise SettingsError(f"data.source._target_={params.data.source._target_}: names no source of images")
    if isinstance(source, TorchvisionSet):
        return  # its classes are known when it is read, perhaps downloaded: by `prepare`
    try:
        classes = source.classes()
    except DataError as error:
        if not _is_empty(params.data.get("root")):
            raise
        print(f"warning: {error}; `dvc repro` needs it so", file=sys.stderr)  # it may be filled until then
        return
    kind = getattr(source, "kind", "classes")
    wants = KINDS[params.task.kind].labels
    if kind != wants:
        would_do = ", ".join(f"task={name}" for name, one in KINDS.items() if one.labels == kind)
        raise SettingsError(
            f"task.kind={params.task.kind}: its labels are {wants}, and those of the data are {kind}; give {would_do}"
        )
    groups: Any = params.data.groups
    if kind != "classes":
        wrong = {
            "data.pretrain_fraction": params.data.pretrain_fraction or None,
            "data.groups": groups,
            "task.rare": params.task.rare or None,
            "task.imbalance": params.task.imbalance if params.task.imbalance > 1 else None,
        }
        for key, value in wrong.items():
            if value is not None:
                raise SettingsError(f"{key}={value}: is for labels that are classes, and here they are {kind}")
        return
    for name in params.task.rare or ():
        if str(name) not in classes:
            raise SettingsError(f"task.rare names {str(name)!r}, which is no class; classes: {', '.join(classes)}")
    if groups is not None and len(check_groups(groups, classes)) < 2:
        raise SettingsError("data.groups: one group is nothing to learn; give two or more, or null")


def _is_empty(root: Any) -> bool:
    return root is not None and Path(root).is_dir() and not any(Path(root).iterdir())


def _judge_model(params: DictConfig) -> None:
    from dynaxx.backbone import resolve
    from dynaxx.training.own_model import is_given, make, maker, with_weights
    from dynaxx.training.wheel import load_wheel

    model = params.model
    if not is_given(model):
        network = make(model, 3, 2)
        if params.data.pretrain_fraction == 0:
            raise SettingsError(
                "data.pretrain_fraction=0: leaves nothing to train model.network on; give more, or a trained model "
                "(model=timm, model=torchvision, model=python)"
            )
    elif model.get("library") is None:
        try:  # whether the weights fit depends on the images' channels: `pretrain` checks it
            network = make(model, 3)
        except ValueError:  # it may need a number of classes
            network = make(model, 3, 2)
    elif model.weights is not None:
        network, _ = with_weights(model, 3)
    elif model.get("wheel") is not None:
        network = load_wheel(model)
    elif params.select.layers == "auto":
        maker(model, 3)
        return
    else:
        network = make(model, 3)
    if params.select.layers != "auto":
        try:
            resolve(network, list(params.select.layers))
        except ResonanceError as error:
            raise SettingsError(f"select.{error}") from None


def _judge_trainer(params: DictConfig) -> None:
    usual: Any = OmegaConf.load(DEFAULT_TRAINER)
    if params.trainer == usual:
        return  # known to be good, and importing Lightning takes seconds
    from dynaxx.training.fit import FitError, make_trainer
    from dynaxx.training.own_model import is_given

    trainer = params.trainer
    if params.get("launcher") is not None:  # its jobs run elsewhere, on other devices
        trainer = OmegaConf.merge(trainer, {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto"})
    budgets = [params.train.epochs, params.distill.epochs, *(params.tune.epochs or [])]
    if not is_given(params.model):
        budgets.append(params.model.pretrain.epochs)
    try:
        make_trainer(instantiate(trainer), checkpoints=Path("checkpoints"), epochs=min(budgets), patience=1)
    except FitError as error:
        text = str(error)
        if text.startswith("trainer: "):
            given = ", ".join(f"trainer.{key}={v}" for key, v in params.trainer.items() if usual.get(key) != v)
            raise SettingsError(f"{given}: {text[9:].rstrip('!.')}; trainer=cpu by itself works everywhere") from None
        raise
