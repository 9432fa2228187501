"""Arms that learn what is normal from normal images alone, and answer with a map of evidence.

- `baseline`: the last tap, one Gaussian for all positions.
- `layer_probe`: the one tap that is best on made-up defects, one Gaussian for each position.
- `concat_probe`: all taps side by side, one Gaussian for each position (PaDiM; Defard et al., ICPR workshops 2021).
- `direct`: each tap predicted from the others linearly, what is left scored by one Gaussian for each tap and position.
- `explicit`: the same with predictions by the loop.

The validation images set scale and threshold. The record's `val_accuracy` is the AUROC of the validation images against
the same images with made-up defects: no labelled defect is needed, none is read.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dynaxx import Anchors, ResonantModel, wrap_with_resonance
from dynaxx.data import normalise, pasted
from dynaxx.evaluation.arms.record import ArmRecord
from dynaxx.evaluation.arms.task import Notes, Run, Task
from dynaxx.tasks import area

ALONE: Mapping[str, Any] = {"predictor": "none"}
"""Options of a disagreement that scores anchors themselves."""


def train_baseline(task: Task, run: Run) -> None:
    """Fit one Gaussian to the last tap."""
    _train(task, run, "baseline", {**ALONE, "taps": task.taps[-1:], "covariance": "shared"})


def train_layer_probe(task: Task, run: Run) -> None:
    """Fit a Gaussian per position to each tap, and keep the one that tells made-up defects best: none are labelled."""
    _train(task, run, "layer_probe", *({**ALONE, "taps": (tap,)} for tap in task.taps))


def train_concat_probe(task: Task, run: Run) -> None:
    """Fit a Gaussian per position to all taps side by side."""
    _train(task, run, "concat_probe", {**ALONE, "together": True})


def train_direct(task: Task, run: Run) -> None:
    """Fit the disagreement of the taps with linear predictions."""
    _train(task, run, "direct", {"predictor": "ridge"})


def train_explicit(task: Task, run: Run) -> None:
    """Fit the disagreement of the taps with predictions by the loop."""
    loop: dict[str, Any] = {
        name: task.resonance[name] for name in ("T", "rank", "activation") if name in task.resonance
    }
    _train(task, run, "explicit", {"predictor": "resonance", **loop, "epochs": task.train.epochs, "lr": task.train.lr})


def _train(task: Task, run: Run, arm: str, *candidates: Mapping[str, Any]) -> None:
    """Fit the disagreement with the options that are best on made-up defects, and write the arm."""
    start = time.perf_counter()
    torch.manual_seed(run.seed)
    model = container(task)
    train, val = task.split(run.seed)
    normal = list(anchors(task, model, task.images.images[train]))
    held_out = list(anchors(task, model, task.images.images[val]))
    made_up = list(anchors(task, model, pasted(task.images.images[val], run.seed)[0]))

    def fitted(options: Mapping[str, Any]) -> float:
        model.fit_disagreement(normal, held_out, **options)
        return pasted_area(model, held_out, made_up)

    values = [fitted(options) for options in candidates]
    best = max(range(len(candidates)), key=lambda number: values[number])
    if best != len(candidates) - 1:
        fitted(candidates[best])  # anew: each fit took the place of the last
    model.save_pretrained(run.out)
    detector = model.adapter.detector
    assert detector is not None
    count = sum(tensor.numel() for tensor in detector.state_dict().values())
    taps = list(candidates[best].get("taps", model.paths))
    notes: Notes = {"threshold": float(detector.threshold)}
    seconds = time.perf_counter() - start
    ArmRecord(arm, run.seed, "disagreement", taps, count, count, seconds, values[best], notes).write(run.out)


def container(task: Task) -> ResonantModel:
    """The backbone with the task's taps on the task's grid; its couplings stay as they are, at zero."""
    kept = {name: task.resonance[name] for name in ("grid", "layout") if name in task.resonance}
    return wrap_with_resonance(task.backbone(), list(task.taps), T=1, rank=1, example_input=task.example(), **kept)


def anchors(task: Task, model: ResonantModel, images: Tensor) -> Iterable[Anchors]:
    """The anchors of these images (uint8), in batches: all that these arms learn from and are judged by is read here.

    What only a pass of the backbone needs is left out.

    >>> normal = list(anchors(task, container(task), task.images.images))
    """
    for part in images.split(task.train.batch_size):
        found = model.read(normalise(part, task.normalisation))
        yield Anchors(found.pooled, [], found.grid)


def pasted_area(model: ResonantModel, normal: Iterable[Anchors], made_up: Iterable[Anchors]) -> float:
    """The AUROC of images with made-up defects against the images that they were made from."""
    scores = [torch.cat([model.disagreement(batch).score for batch in batches]) for batches in (normal, made_up)]
    return area(torch.cat(scores), torch.arange(len(scores[0]) + len(scores[1])) >= len(scores[0]))
