"""The linear readings: `baseline` reads the classifier's input, `layer_probe` one layer, `concat_probe` all taps.

Each is a linear head, fitted to convergence on augmented training images and regularised on validation images. Fits are
kept beside the feature caches, because the head of every coupled model that reads the taps starts from one.

Shape legend: N images and views, P positions, F features.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynaxx import Anchors, ResonantModel
from dynaxx.backbone import Head, moments
from dynaxx.data import random_view, views
from dynaxx.evaluation.arms.record import ArmRecord, load_head
from dynaxx.evaluation.arms.resonant import source, wrapped
from dynaxx.evaluation.arms.task import Run, Task
from dynaxx.evaluation.predict import Samples
from dynaxx.tasks import Examples, LinearFit, LinearOptions
from dynaxx.training.cache.batches import CachedData
from dynaxx.training.distributed import rank_zero
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features

AUGMENTED_VERSIONS = 4
"""Maximum number of versions per training image: the first ones, or as many random ones where there are too many."""


@dataclass(frozen=True)
class Fitted:
    """A fitted head of one reading, and the seconds of reading features and fitting."""

    fit: LinearFit
    seconds: float


def train_baseline(task: Task, run: Run) -> None:
    """Keep the backbone's own head if it gives the task's answers; otherwise fit a linear probe in its place."""
    if task.head == "probe":
        _train(task, run, probe(task, run.seed), arm="baseline")
        return
    _, val = task.split(run.seed)
    data, (_, judge) = task.images.subset(val), task.kinds(run.seed)
    answered = Samples(data.images, task.normalisation).outputs(task.backbone())
    ArmRecord("baseline", run.seed, "own", [], 0, 0, 0.0, judge.value(answered, data.labels), {}).write(run.out)


def train_layer_probe(task: Task, run: Run) -> None:
    """Fit a linear probe on the one layer that is best on the validation images."""
    started = time.perf_counter()
    tried = dict(best_first(task, run.seed))
    chosen = next(iter(tried))
    seconds = time.perf_counter() - started
    one = replace(task, taps=[chosen])
    model = wrapped(one, run.seed, mode="layer_probe", readout=task.kind.probe_readout)
    notes = {f"validation {path}": value for path, value in tried.items()}
    _train(one, run, model, arm="layer_probe", before=seconds, notes=notes)


def train_concat_probe(task: Task, run: Run) -> None:
    """Fit a linear probe on the concatenated activations of all tapped layers."""
    _train(task, run, concatenated(task, run.seed), arm="concat_probe")


def concatenated(task: Task, seed: int) -> ResonantModel:
    """The untrained model of `concat_probe`."""
    return wrapped(task, seed, mode="concat_probe", readout=task.kind.probe_readout)


def start_head(task: Task, seed: int, model: ResonantModel) -> float:
    """Let the new head of a coupled model start as the linear reading of the same features; returns its seconds.

    A head in the classifier's place starts as the arm `baseline`, one that reads the taps as `concat_probe` would.
    """
    if model.head is None:
        return 0.0
    if not model.config.reads_taps:
        folder = task.probes / f"seed-{seed}"
        _copy(load_head(folder), model.head)
        return ArmRecord.read(folder).train_seconds
    reading = wrapped(task, seed, mode="concat_probe", readout=model.config.readout)
    fitted = fit_head(task, seed, reading)
    assert reading.head is not None
    _copy(reading.head, model.head)
    return fitted.seconds


def fit_head(task: Task, seed: int, model: ResonantModel) -> Fitted:
    """Fit the head of a linear reading in place; a fit that is kept from before is taken.

    >>> model = concatenated(task, seed=0)
    >>> fit_head(task, 0, model).fit.value
    0.95
    """
    path = task.cache / "fits" / f"{_key(task, seed, model)}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        fitted = _read(path)
        if fitted is None:
            started = time.perf_counter()
            train, val, grid = examples(task, seed, model)
            fit = task.kind.fit_linear(train, val, LinearOptions(task.outputs, task.penalties, grid))
            fitted = Fitted(fit, time.perf_counter() - started)
            _write(path, fitted)
    _load(model.head, fitted.fit, task, seed)
    return fitted


def best_first(task: Task, seed: int) -> Iterable[tuple[str, float]]:
    """The layers that could be tapped with the metric of a linear probe on each, on validation images, best first.

    The choice takes one view of each image and the middle penalty.
    """
    paths = list(task.candidates or task.taps)
    plain = replace(task, taps=paths, train=replace(task.train, augmentation="none"))
    wide = concatenated(plain, seed)
    train, val, grid = examples(plain, seed, wide)
    options = LinearOptions(task.outputs, [sorted(task.penalties)[len(task.penalties) // 2]], grid)
    channels = wide.require_built().exchange.channels
    found = []
    for number, path in enumerate(wide.paths):
        columns = _columns(channels, number, task.kind.probe_readout == "moments")
        one, unseen = (part._replace(x=part.x[..., columns]) for part in (train, val))
        found.append((path, task.kind.fit_linear(one, unseen, options).value))
    return sorted(found, key=lambda pair: task.kind.metric.oriented(pair[1]), reverse=True)


def examples(task: Task, seed: int, model: ResonantModel) -> tuple[Examples, Examples, tuple[int, ...]]:
    """Features and labels of the training and the validation images, as the head of a linear reading reads them.

    Returns:
        (training, validation, grid): features (N, F), or (N, P, F) of the positions of `grid`.
    """
    if not model.config.reads_taps:
        return *_of_classifier(task, seed, model), ()
    batches = source(task, seed, model, fit_statistics=False).data
    grids: list[tuple[int, ...]] = []

    def read(pairs: Iterable[tuple[Anchors, Tensor]]) -> Examples:
        x, y = [], []
        for anchors, labels in pairs:
            (part,) = model.adapter.head_features(anchors)
            x.append(part if model.config.readout == "map" else part.squeeze(1))
            y.append(labels)
            grids.append(anchors.grid)
        return Examples(torch.cat(x), torch.cat(y))

    if isinstance(batches, CachedData):
        # every position is a sample of its own: one view of each has enough
        most = 1 if model.config.readout == "map" else AUGMENTED_VERSIONS
        found = read(batches.training_batches(most)), read(batches.validation_batches())
    else:
        loader = batches.train_dataloader()
        epochs = 1 if task.train.augmentation == "none" else AUGMENTED_VERSIONS
        shown = ((model.read(x), y) for _ in range(epochs) for x, y, *_ in loader)
        found = read(shown), read((model.read(x), y) for x, y, *_ in batches.val_dataloader())
    return *found, grids[0]


def _of_classifier(task: Task, seed: int, model: ResonantModel) -> tuple[Examples, Examples]:
    train, val = task.split(seed)
    backbone, classifier = task.backbone(), model.adapter.classifier

    def read(index: Tensor, view: object) -> Tensor:
        features = pooled_features(
            backbone,
            [],
            classifier,
            task.images.images[index],
            task.normalisation,
            view,  # type: ignore[arg-type]
        )
        return features[PENULTIMATE]

    augmentation, labels = task.train.augmentation, task.images.labels
    size = min(task.images.images.shape[-2:])
    seen = (views(augmentation, size) or [])[:AUGMENTED_VERSIONS]
    if not seen:
        seen = [random_view(augmentation, size, torch.Generator().manual_seed(seed))] * AUGMENTED_VERSIONS
    train_x = torch.cat([read(train, view) for view in seen])
    train_y = torch.cat([labels[train]] * len(seen))
    return Examples(train_x, train_y), Examples(read(val, lambda images: images), labels[val])


def probe(task: Task, seed: int) -> ResonantModel:
    """The untrained model of `baseline`."""
    in_every_position = task.kind.probe_readout == "map"
    return wrapped(replace(task, taps=[]), seed, mode="probe", readout="map" if in_every_position else "classifier")


def _train(
    task: Task, run: Run, model: ResonantModel, *, arm: str, before: float = 0.0, notes: dict[str, float] | None = None
) -> None:
    fitted = fit_head(task, run.seed, model)
    if not rank_zero():
        return
    assert model.head is not None
    model.save_pretrained(run.out)
    count = sum(parameter.numel() for parameter in model.head.parameters())
    record = ArmRecord(
        arm,
        run.seed,
        "resonance",
        list(model.paths) if model.config.reads_taps else [],
        count,
        count,
        before + fitted.seconds,
        fitted.fit.value,
        {"C": fitted.fit.C, **(notes or {})},
    )
    record.write(run.out)


def _load(head: Head | None, fit: LinearFit, task: Task, seed: int) -> None:
    assert head is not None
    head.load_state_dict({"weight": fit.weight, "bias": fit.bias, "mean": fit.mean, "std": fit.std}, strict=False)
    numbers = task.kind.numbers(task.images.labels[task.split(seed)[0]])
    if numbers is not None:
        ((shift, scale),) = moments([[numbers[:, None]]])
        head.in_units(shift, scale)


def _copy(head: Head, to: Head) -> None:
    if head.shift is not None and head.scale is not None:
        to.in_units(head.shift, head.scale)
    to.load_state_dict(head.state_dict())


def _columns(channels: Sequence[int], number: int, with_deviations: bool) -> list[int]:
    """The columns of one tap among the features of all: its means, and its deviations."""
    start, every = sum(channels[:number]), sum(channels)
    of_means = list(range(start, start + channels[number]))
    return of_means + [every + column for column in of_means] * with_deviations


def _key(task: Task, seed: int, model: ResonantModel) -> str:
    """The name of a fit, computed from all that determines it."""
    train, val = task.split(seed)
    parts = {
        "of": task.fingerprint,
        "kind": repr(task.kind),
        "mode": model.config.mode,
        "readout": model.config.readout,
        "grid": model.config.grid,
        "taps": list(model.paths) if model.config.reads_taps else [],
        "augmentation": task.train.augmentation,
        "penalties": list(task.penalties),
        "train": hashlib.sha256(train.numpy().tobytes()).hexdigest(),
        "val": hashlib.sha256(val.numpy().tobytes()).hexdigest(),
        "seed": seed if views(task.train.augmentation, min(task.images.images.shape[-2:])) is None else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, fitted: Fitted) -> None:
    fit = fitted.fit
    tensors = {"weight": fit.weight, "bias": fit.bias, "mean": fit.mean, "std": fit.std}
    numbers = {"C": fit.C, "value": fit.value, "seconds": fitted.seconds}
    tensors |= {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    aside = path.with_suffix(".new")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside)
    aside.rename(path)


def _read(path: Path) -> Fitted | None:
    """The kept fit; None if there is none, or a damaged file."""
    try:
        kept = load_file(path)
        seconds, C, value = (float(kept.pop(name)) for name in ("seconds", "C", "value"))
        return Fitted(LinearFit(**kept, C=C, value=value), seconds)
    except Exception:  # safetensors raises its own class, and OSError
        return None
