"""The two linear probes: `baseline` reads the classifier's input, `concat_probe` reads all tapped layers."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from dynaxx.backbone import Head, find_classifier
from dynaxx.data import normalise, random_view, views
from dynaxx.evaluation.arms.record import ArmRecord, save_probe
from dynaxx.evaluation.arms.task import Run, Task
from dynaxx.tasks import Examples, fit_logistic
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features

AUGMENTED_VERSIONS = 4
"""Maximum number of augmented versions per training image; a larger augmentation is sampled this often."""


def train_baseline(task: Task, run: Run) -> None:
    """Keep the backbone's own head if it predicts the task's classes; otherwise fit a linear probe in its place."""
    if task.head == "probe":
        _train_probe(task, run, arm="baseline", taps=())
    else:
        accuracy = _own_accuracy(task, task.split(run.seed)[1])
        ArmRecord("baseline", run.seed, "own", [], 0, 0, 0.0, accuracy, {}).write(run.out)


def train_concat_probe(task: Task, run: Run) -> None:
    """Fit a linear probe to convergence on the concatenated mean activations of all tapped layers."""
    _train_probe(task, run, arm="concat_probe", taps=task.taps)


def _train_probe(task: Task, run: Run, *, arm: str, taps: Sequence[str]) -> None:
    """Fit a linear probe to convergence on the augmented training images, and write its `arm.json` and weights."""
    start = time.perf_counter()
    train, val = task.split(run.seed)
    backbone = task.backbone()
    names = list(taps) or [PENULTIMATE]
    classifier = None if taps else find_classifier(backbone, None)[0]

    def read(index: Tensor, view: object) -> Tensor:
        features = pooled_features(
            backbone,
            list(taps),
            classifier,
            task.images.images[index],
            task.normalisation,
            view,  # type: ignore[arg-type]
        )
        return torch.cat([features[name] for name in names], dim=1)

    augmentation = task.train.augmentation
    size = min(task.images.images.shape[-2:])
    seen = views(augmentation, size)
    if seen is None or len(seen) > AUGMENTED_VERSIONS:
        seen = [random_view(augmentation, size, torch.Generator().manual_seed(run.seed))] * AUGMENTED_VERSIONS
    train_x = torch.cat([read(train, view) for view in seen])
    train_y = task.images.labels[train].repeat(len(seen))
    val_x, val_y = read(val, lambda images: images), task.images.labels[val]
    probe = fit_logistic(
        Examples(train_x, train_y), Examples(val_x, val_y), classes=task.classes, penalties=task.penalties
    )
    head = Head(train_x.shape[1], task.classes)
    head.load_state_dict({"weight": probe.weight, "bias": probe.bias, "mean": probe.mean, "std": probe.std})
    save_probe(run.out, head)
    count = sum(parameter.numel() for parameter in head.parameters())
    seconds = time.perf_counter() - start
    ArmRecord(arm, run.seed, "probe", list(taps), count, count, seconds, probe.value, {"C": probe.C}).write(run.out)


@torch.no_grad()
def _own_accuracy(task: Task, index: Tensor) -> float:
    backbone, hits = task.backbone(), 0
    for part in index.split(256):
        logits = backbone(normalise(task.images.images[part], task.normalisation))
        hits += int((logits.argmax(1).cpu() == task.images.labels[part]).sum())
    return hits / len(index)
