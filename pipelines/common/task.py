"""The task that all arms share, from params.yaml and the outputs of earlier stages."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from dynaxx import ResonanceError
from dynaxx.backbone import resolve
from dynaxx.data import LabelledImages, load_prepared
from dynaxx.evaluation import titled
from dynaxx.evaluation.arms import ArmRecord, Run, Task, TrainOptions, is_trained
from dynaxx.evaluation.arms.readout import readout_of
from dynaxx.evaluation.validation import chosen, read_tuned, with_settings
from dynaxx.selection import candidates as candidates_of
from dynaxx.tasks import Kind, Metric, TaskError, kind_of
from dynaxx.training.distributed import barrier, rank_zero
from dynaxx.training.pretrained import load_backbone
from pipelines.common.adapt import validation_images
from pipelines.common.stage import FEATURES, OUTPUTS, Stage
from pipelines.common.subject import subject

TUNED = OUTPUTS / "tune" / "tuned.json"
VARIED = OUTPUTS / "vary" / "varied.json"
BY_LABELS = OUTPUTS / "vary" / "labels.json"

LOGGED = ("resonance", "train", "distill", "task")
"""Sections of params.yaml that are logged in each arm's MLflow run."""


def build_task(
    params: DictConfig, *, taps: list[str] | None = None, root: Path = OUTPUTS, cache: Path = FEATURES
) -> Task:
    """Build the task of params.yaml.

    >>> task = build_task(read_params())

    Args:
        taps: paths of the taps; None: the choice of the stage select_layers, which must be complete.
        root: folder of the outputs of earlier stages.
        cache: folder of feature caches.
    """
    prepared = load_prepared(root / "prepare")
    backbone = load_backbone(params.model, root / "pretrain", prepared.manifest.image_shape[0])
    candidates: list[str] = []
    selected = taps is None
    if taps is None:
        selection = json.loads((root / "select_layers" / "selection.json").read_text())
        taps, candidates = selection["chosen"], [row["tap"] for row in selection["candidates"]]
    resonance: Any = OmegaConf.to_container(params.resonance)
    images, kind = prepared.task(), kind_of_task(params)
    _check_labels(kind, images)
    task = Task(
        kind=kind,
        candidates=candidates,
        backbone=lambda: copy.deepcopy(backbone.network),
        fingerprint=f"{backbone.checksum}-{prepared.fingerprint()}-{backbone.normalisation.mean}-{backbone.normalisation.std}",
        images=images,
        normalisation=backbone.normalisation,
        n_train=params.task.n_train,
        n_val=validation_images(params, images),
        taps=taps,
        resonance=resonance,
        train=TrainOptions(**params.train),
        trainer=lambda **options: instantiate(params.trainer)(**options),
        probes=root / "baseline" / "baseline",
        cache=cache,
        head=params.baseline.head,
        penalties=list(params.baseline.C),
        imbalance=params.task.imbalance,
        rare=params.task.rare,
    )
    return task if selected else replace(task, candidates=_candidates(params, task, backbone.network))


def _candidates(params: DictConfig, task: Task, network: nn.Module) -> list[str]:
    """The layers that `select_layers` will score; none where it will refuse them."""
    try:
        if params.select.layers == "auto":
            return candidates_of(network, task.example(), readout_of(task, task.resonance))
        return resolve(network, list(params.select.layers))
    except ResonanceError:
        return []


def kind_of_task(params: DictConfig) -> Kind:
    """The task kind that `params.task` names, with its options.

    >>> kind_of_task(read_params()).name
    'classification'
    """
    options: Any = OmegaConf.to_container(params.task.options)
    return kind_of(params.task.kind, options)


def _check_labels(kind: Kind, images: LabelledImages) -> None:
    """Raise TaskError for labels on which nothing can be trained."""
    kind.check(images)
    if kind.labelled and kind.labels == "classes" and len(images) and len(images.labels.unique()) == 1:
        only = images.classes[int(images.labels[0])]
        raise TaskError(
            f"all training images are {only!r}: nothing can be told apart; give other classes, too, or task=anomaly"
        )


def tuned(task: Task, arm: str) -> Task:
    """The task with the learning rate and epochs that the stage `tune` chose for the arm, if any."""
    return with_settings(task, chosen(read_tuned(TUNED), arm))


def each_seed(stage: Stage, arm: str, train: Callable[[Run], None]) -> list[ArmRecord]:
    """Call `train(run)` for each seed that is not finished yet; returns the records of all seeds."""
    from dynaxx.tracking import ending_live

    records = []
    for seed in stage.params.task.seeds:
        out = stage.out / arm / f"seed-{seed}"
        if not is_trained(out):
            checkpoints = stage.checkpoints / arm / f"seed-{seed}"
            with ending_live(partial(_logger, stage, arm, seed)) as logger:
                train(Run(seed, out, checkpoints, logger))
                barrier()
        if rank_zero():
            records.append(ArmRecord.read(out))
    return records


def summary(records: list[ArmRecord], metric: Metric) -> str:
    """The result of an arm in one line: the metric on validation over the seeds, parameters and time.

    >>> summary(records, kind.metric)  # doctest: +SKIP
    'explicit validation accuracy 0.951 (0.940 to 0.962, 3 seeds), 12,340 parameters, 3.1 s a seed'
    """
    if not records:
        return ""
    values = [record.val_score for record in records]
    mean = sum(values) / len(values)
    seconds = sum(record.train_seconds for record in records) / len(records)
    return (
        f"{records[0].arm} validation {titled(metric, plain=True)} {mean:.3f} ({min(values):.3f} to {max(values):.3f}, "
        f"{len(records)} seeds), {records[0].trained_parameters:,} parameters, {seconds:.1f} s a seed"
    )


def _logger(stage: Stage, arm: str, seed: int) -> Any:
    from dynaxx.tracking import live_logger, tracking_uri

    tracking = stage.params.tracking
    params: Any = OmegaConf.to_container(stage.params)
    return live_logger(
        tracking.experiment,
        stage_key=stage.key,
        arm=arm,
        seed=seed,
        uri=tracking_uri(tracking.uri),
        params={section: params[section] for section in LOGGED},
        subject=subject(stage.params),
    )
