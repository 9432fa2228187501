"""Arms that learn what is normal from normal images alone, and answer with a map of evidence.

- `baseline`: the last tap, one Gaussian for all positions.
- `layer_probe`: the one layer that is best on made-up defects, a Gaussian for each position.
- `concat_probe`: all taps side by side, a Gaussian for each position (PaDiM; Defard et al., ICPR workshops 2021).
- `direct`: each tap predicted from the others linearly, what is left scored by a Gaussian for each tap and position.
- `explicit`: the same with predictions by the loop.

The validation images set scale and threshold. The record's `val_score` is the task's metric on the validation images
and the same images with made-up defects: no labelled defect is needed, none is read.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from dynaxx import Anchors, ResonantModel
from dynaxx.data import batch_size, normalise, pasted
from dynaxx.evaluation.arms.anchors import store_of
from dynaxx.evaluation.arms.readout import tapped
from dynaxx.evaluation.arms.record import ArmRecord
from dynaxx.evaluation.arms.resonant import wrapped
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.evaluation.defect_map import DefectMap
from dynaxx.spent import BACKBONE, FITTING, spent
from dynaxx.tasks import Anomaly

Options = Mapping[str, Any]
"""Options of `ResonantModel.fit_disagreement`."""
ALONE: Options = {"predictor": "none"}
"""Options that score the anchors themselves."""


def train_baseline(task: Task, run: Run) -> None:
    """Fit one Gaussian to the last layer."""
    _train(task, run, "baseline", [tapped(replace(task, taps=[]))], {**ALONE, "covariance": "shared"})


def train_layer_probe(task: Task, run: Run) -> None:
    """Fit a Gaussian per position to each layer, and keep the one that tells made-up defects best."""
    _train(task, run, "layer_probe", [[path] for path in task.candidates or task.taps], ALONE)


def train_concat_probe(task: Task, run: Run) -> None:
    """Fit a Gaussian per position to all taps side by side."""
    _train(task, run, "concat_probe", [task.taps], {**ALONE, "together": True})


def train_direct(task: Task, run: Run) -> None:
    """Fit the disagreement of the taps with linear predictions."""
    _train(task, run, "direct", [task.taps], {"predictor": "ridge"})


def train_explicit(task: Task, run: Run) -> None:
    """Fit the disagreement of the taps with predictions by the loop."""
    loop: Options = {name: task.resonance[name] for name in ("T", "rank", "activation") if name in task.resonance}
    options: Options = {"predictor": "resonance", "epochs": task.train.epochs, "lr": task.train.lr}
    _train(task, run, "explicit", [task.taps], {**options, **loop})


def _train(task: Task, run: Run, arm: str, choices: Sequence[Sequence[str]], options: Options) -> None:
    """Fit the disagreement of each choice of taps, and write the one that is best on made-up defects."""
    start = time.perf_counter()
    every = list(dict.fromkeys(path for taps in choices for path in taps))
    reader = container(task, every, run.seed)
    train, val = task.split(run.seed)
    made_up, _ = pasted(task.images.images[val], run.seed)
    with spent(BACKBONE):
        normal, held_out = (of_task(task, reader, part) for part in (train, val))
        defective = anchors(task, reader, made_up)
    tried: list[tuple[float, ResonantModel]] = []
    for taps in choices:
        model = container(task, taps, run.seed)
        numbers = [reader.paths.index(path) for path in model.paths]
        one, two, three = ([_only(part, numbers) for part in parts] for parts in (normal, held_out, defective))
        with spent(FITTING):
            model.fit_disagreement(one, two, top=_kind(task).top, false_alarms=_false_alarms(len(val)), **options)
        tried.append((score(task, model, two, three), model))
    value, model = max(tried, key=lambda one: task.kind.metric.oriented(one[0]))
    model.save_pretrained(run.out)
    detector = model.adapter.detector
    assert detector is not None
    count = sum(tensor.numel() for tensor in detector.state_dict().values())
    notes: Notes = {"threshold": float(detector.threshold)}
    seconds = time.perf_counter() - start
    ArmRecord(arm, run.seed, "disagreement", list(model.paths), count, count, seconds, value, notes).write(run.out)


def container(task: Task, taps: Sequence[str], seed: int) -> ResonantModel:
    """The backbone with these taps on one grid, and nothing that couples them; a pass ends at the last of them.

    >>> container(task, ["layer2", "layer3"], seed=0).paths
    ('layer2', 'layer3')
    """
    # a linear reading: its one output is no answer and is never asked for
    return wrapped(replace(task, taps=list(taps)), seed, mode="concat_probe", readout=task.kind.probe_readout)


def of_task(task: Task, model: ResonantModel, index: Tensor) -> list[Anchors]:
    """The anchors of the task's images `index`: those that one pass gave for all arms and seeds, where they are kept.

    >>> of_task(task, container(task, ["layer3"], seed=0), task.split(0)[0])[0].grid
    (14, 14)
    """
    store = store_of(task)
    if store is None or not store.serves(model):
        return anchors(task, model, task.images.images[index])
    cache = store.cache(model)
    found = (cache.anchors(torch.zeros_like(part), part) for part in index.split(batch_size(task.images.images)))
    return [Anchors(one.pooled, [], one.grid) for one in found]


def anchors(task: Task, model: ResonantModel, images: Tensor) -> list[Anchors]:
    """The anchors of images (uint8), in batches: all that these arms learn from and are judged by is read here.

    >>> anchors(task, container(task, ["layer3"], seed=0), task.images.images)[0].grid
    (14, 14)
    """
    device = next(model.parameters()).device
    found = (model.read(normalise(part, task.normalisation).to(device)) for part in images.split(batch_size(images)))
    return [Anchors(one.pooled, [], one.grid) for one in found]


def score(task: Task, model: ResonantModel, normal: Sequence[Anchors], made_up: Sequence[Anchors]) -> float:
    """The task's metric on images and the same images with made-up defects.

    >>> score(task, model, held_out, defective)
    0.82
    """
    maps = torch.cat([DefectMap(model)(batch) for batch in (*normal, *made_up)]).cpu()
    return task.kind.value(maps, (torch.arange(len(maps)) >= len(maps) // 2).long())


def _only(batch: Anchors, numbers: Sequence[int]) -> Anchors:
    return Anchors([batch.pooled[number] for number in numbers], [], batch.grid)


def _kind(task: Task) -> Anomaly:
    return cast("Anomaly", task.kind)


def _false_alarms(held_out: int) -> float:
    """The share of false alarms that so many held-out images can bound: 5 %, or more where they are few."""
    return max(0.05, 1 / (held_out + 1))
