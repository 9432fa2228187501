"""The linear readings: `baseline` reads the classifier's input, `layer_probe` one layer, `concat_probe` all taps.

Each is a linear head, fitted to convergence on augmented training images and regularised on validation images. Fits are
kept beside the feature caches, because the head of every coupled model that reads the taps starts from one.

Shape legend: N images and views, P positions, F features.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynaxx import Anchors, ResonantModel
from dynaxx.backbone import Head, moments
from dynaxx.data import random_view, views
from dynaxx.evaluation.arms.anchors import store_of
from dynaxx.evaluation.arms.record import ArmRecord, load_head
from dynaxx.evaluation.arms.resonant import source, wrapped
from dynaxx.evaluation.arms.task import Run, Task
from dynaxx.evaluation.predict import Samples
from dynaxx.spent import BACKBONE, FITTING, spent
from dynaxx.tasks import Examples, LinearFit, LinearOptions
from dynaxx.training.cache.batches import CachedData
from dynaxx.training.distributed import rank_zero
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features

AUGMENTED_VERSIONS = 4
"""Maximum number of versions per training image: the first ones, or as many random ones where there are too many."""

READ_SECONDS = "seconds of the backbone"
"""Key of an arm's notes: seconds of its training in which the backbone ran, for all arms alike."""

PENALTY = "penalty of the head"
"""Key of a linear arm's notes: factor of ‖W‖² beside the mean loss of a sample."""


@dataclass(frozen=True)
class Fitted:
    """A fitted head of one reading, and the seconds of fitting and of reading features that nobody keeps."""

    fit: LinearFit
    seconds: float
    read_seconds: float = 0.0
    """Seconds of the backbone's passes, where their anchors are kept for others; not among `seconds`."""


def train_baseline(task: Task, run: Run) -> None:
    """Keep the backbone's own head if it gives the task's answers; otherwise fit a linear probe in its place."""
    if task.head == "probe":
        _train(task, run, probe(task, run.seed), arm="baseline")
        return
    _, val = task.split(run.seed)
    data, (_, judge) = task.images.subset(val), task.kinds(run.seed)
    answered = Samples(data.images, task.normalisation, {}, store_of(task), val).outputs(task.backbone())
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


class Start(NamedTuple):
    """How a head starts that is trained on: the seconds of its linear fit, and the penalty of ‖W‖² that it keeps.

    Without the penalty that its fit was chosen with, a head of many features overfits few samples.
    """

    seconds: float = 0.0
    penalty: float = 0.0


def start_head(task: Task, seed: int, model: ResonantModel) -> Start:
    """Let the new head of a coupled model start as the linear reading of the same features.

    A head in the classifier's place starts as the arm `baseline`, one that reads the taps as `concat_probe` would.

    >>> start_head(task, 0, wrapped(task, 0, mode="explicit")).penalty  # doctest: +SKIP
    0.0008
    """
    if model.head is None:
        return Start()
    if not model.config.reads_taps:
        folder = task.probes / f"seed-{seed}"
        _copy(load_head(folder), model.head)
        record = ArmRecord.read(folder)
        seconds = record.train_seconds - float(record.notes.get(READ_SECONDS, 0.0))  # they count once, with the anchors
        return Start(seconds, float(record.notes.get(PENALTY, 0.0)))
    reading = wrapped(task, seed, mode="concat_probe", readout=model.config.readout)
    fitted = fit_head(task, seed, reading)
    assert reading.head is not None
    _copy(reading.head, model.head)
    # a reading without the sources says nothing about how far a head that reads messages of them may be trusted
    return Start(fitted.seconds, 0.0 if model.config.sources else fitted.fit.penalty)


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
            shown = examples(task, seed, model)
            started = time.perf_counter()
            options = LinearOptions(task.outputs, task.penalties, shown.grid)
            with spent(FITTING):
                fit = task.kind.fit_linear(shown.train, shown.val, options)
            fitted = Fitted(fit, shown.seconds + time.perf_counter() - started, shown.read_seconds)
            _write(path, fitted)
    _load(model.head, fitted.fit, task, seed)
    return fitted


def best_first(task: Task, seed: int) -> Iterable[tuple[str, float]]:
    """The layers that could be tapped with the metric of a linear probe on each, on validation images, best first.

    The choice takes one view of each image and the middle penalty.

    >>> best_first(task, seed=0)[0]  # doctest: +SKIP
    ('blocks.4', 0.96)
    """
    wide = concatenated(replace(task, taps=list(task.candidates or task.taps)), seed)
    train, val, grid, *_ = examples(task, seed, wide, most=1)
    options = LinearOptions(task.outputs, [sorted(task.penalties)[len(task.penalties) // 2]], grid)
    channels = wide.require_built().exchange.channels
    found = []
    for number, path in enumerate(wide.paths):
        columns = _columns(channels, number, task.kind.probe_readout == "moments")
        one, unseen = (part._replace(x=part.x[..., columns]) for part in (train, val))
        with spent(FITTING):
            found.append((path, task.kind.fit_linear(one, unseen, options).value))
    return sorted(found, key=lambda pair: task.kind.metric.oriented(pair[1]), reverse=True)


class Shown(NamedTuple):
    """Features and labels of training and validation images, as the head of a linear reading reads them.

    Attributes:
        train, val: features (N, F), or (N, P, F) of the positions of `grid`, and labels.
        grid: (h, w); empty if the features have no positions.
        seconds: seconds in which they were read.
        read_seconds: seconds of the backbone's passes whose anchors are kept; not among `seconds`.
    """

    train: Examples
    val: Examples
    grid: tuple[int, ...]
    seconds: float
    read_seconds: float


def examples(task: Task, seed: int, model: ResonantModel, most: int = AUGMENTED_VERSIONS) -> Shown:
    """What the head of a linear reading is fitted to.

    >>> examples(task, 0, concatenated(task, 0)).train.x.shape
    torch.Size([600, 208])

    Args:
        most: largest number of versions of each training image; 1 shows the images as they are where these are kept.
    """
    if not model.config.reads_taps:
        return _of_classifier(task, seed, model)
    batches = source(task, seed, model, fit_statistics=False).data
    kept = batches.cache.seconds if isinstance(batches, CachedData) else 0.0  # opened before time is taken
    started, grids = time.perf_counter(), []

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
        versions = 1 if model.config.readout == "map" else most
        train, val = read(batches.training_batches(versions)), read(batches.validation_batches())
    else:
        loader = batches.train_dataloader()
        epochs = 1 if task.train.augmentation == "none" else most
        shown = ((model.read(x), y) for _ in range(epochs) for x, y, *_ in loader)
        train, val = read(shown), read((model.read(x), y) for x, y, *_ in batches.val_dataloader())
    return Shown(train, val, tuple(grids[0]), time.perf_counter() - started, kept)


def _of_classifier(task: Task, seed: int, model: ResonantModel) -> Shown:
    train, val = task.split(seed)
    labels, augmentation = task.images.labels, task.train.augmentation
    size, store = min(task.images.images.shape[-2:]), store_of(task)
    held = (
        store if store is not None and store.head is not None and store.classifier == model.adapter.classifier else None
    )
    started, known = time.perf_counter(), (views(augmentation, size) or [])[:AUGMENTED_VERSIONS]

    def kept(index: Tensor, view: int) -> Tensor:
        assert held is not None
        return held.features([], "classifier", torch.full_like(index, view), index)

    def live(index: Tensor, view: Callable[[Tensor], Tensor] = lambda images: images) -> Tensor:
        images, classifier = task.images.images[index], model.adapter.classifier
        with spent(BACKBONE):
            return pooled_features(model.backbone, [], classifier, images, task.normalisation, view)[PENULTIMATE]

    if held is not None and known:
        parts = [kept(train, number) for number in range(len(known))]
    else:
        drawn = random_view(augmentation, size, torch.Generator().manual_seed(seed))
        parts = [live(train, view) for view in known or [drawn] * AUGMENTED_VERSIONS]
    unseen = kept(val, 0) if held is not None else live(val)
    return Shown(
        Examples(torch.cat(parts), torch.cat([labels[train]] * len(parts))),
        Examples(unseen, labels[val]),
        (),
        time.perf_counter() - started,
        0.0 if held is None else held.seconds,
    )


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
        before + fitted.seconds + fitted.read_seconds,
        fitted.fit.value,
        {"C": fitted.fit.C, PENALTY: fitted.fit.penalty, READ_SECONDS: fitted.read_seconds, **(notes or {})},
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
        "of": f"{task.fingerprint}, {task.variant}",
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
    numbers = {
        "C": fit.C,
        "value": fit.value,
        "penalty": fit.penalty,
        "seconds": fitted.seconds,
        "read_seconds": fitted.read_seconds,
    }
    tensors |= {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    aside = path.with_suffix(".new")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside)
    aside.rename(path)


def _read(path: Path) -> Fitted | None:
    """The kept fit; None if there is none, or a damaged file."""
    try:
        kept = load_file(path)
        seconds, read = (float(kept.pop(name)) for name in ("seconds", "read_seconds"))
        C, value, penalty = (float(kept.pop(name)) for name in ("C", "value", "penalty"))
        return Fitted(LinearFit(**kept, C=C, value=value, penalty=penalty), seconds, read)
    except Exception:  # safetensors raises its own class, and OSError
        return None
