"""The classical way from a click to its object: find what is inside of objects, take the connected part at the click.

A network of four convolutions on the same taps learns masks of all objects from the same crops, without clicks. The
threshold of its probabilities is the one that is best on validation crops.

Shape legend: N crops, H x W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from scipy.ndimage import label
from torch import Tensor

from dynaxx.data import ClickedMasks, LabelledImages
from dynaxx.data.clicked_masks import Sample
from dynaxx.evaluation import Judge
from dynaxx.evaluation.arms import ARMS, ArmRecord, Run, Task
from dynaxx.tasks import Segmentation
from experiments.suite.cases import Case
from experiments.suite.elsewhere import on_grid, samples
from pipelines.common.source import open_source

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(4, 20))
FINDER = "conv_4"


@dataclass
class WholeMasks(ClickedMasks):
    """Crops as of `ClickedMasks`, with the masks of all objects in a fourth channel."""

    def _samples(self, image: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> Iterator[Sample]:
        yield from super()._samples(np.concatenate([image, 255 * (mask > 0)[None].astype(np.uint8)]), mask, random)


def component(probability: np.ndarray, click: np.ndarray, threshold: float) -> np.ndarray:
    """The connected part above the threshold at the middle of the click, bool (H, W); nothing where it is below.

    >>> row = np.array([[0.9, 0.9, 0.1, 0.9]])
    >>> component(row, np.array([[1, 0, 0, 0]]), 0.5).astype(int)
    array([[1, 1, 0, 0]])
    """
    parts, _ = label(probability >= threshold)
    row, column = np.argwhere(click > 0).mean(0).round().astype(int)
    found: np.ndarray = (parts == parts[row, column]) & (parts > 0)
    return found


def objects(probability_NHW: Tensor, data: LabelledImages, threshold: float) -> Tensor:
    """The component of each sample as logits of 1 and -1, (N, 1, H, W)."""
    clicks = data.sources["click"][:, 0].numpy()
    found = [component(p, click, threshold) for p, click in zip(probability_NHW.numpy(), clicks, strict=True)]
    return 2.0 * torch.from_numpy(np.stack(found))[:, None].float() - 1.0


def train(task: Task, run: Run, settings: DictConfig) -> float:
    """Train the network and choose the threshold on validation; returns the threshold."""
    whole = _whole(settings, "train")
    finder = replace(task, images=replace(task.images, labels=whole, sources={}), kind=Segmentation())
    ARMS[FINDER].train(finder, run)
    _, val = task.split(run.seed)
    data = task.images.subset(val)
    probability = _found(run.out, task, data)
    tried = {
        threshold: float(task.kind.scores(objects(probability, data, threshold), data.labels).mean())
        for threshold in THRESHOLDS
    }
    best = max(tried, key=lambda threshold: tried[threshold])
    record = ArmRecord.read(run.out)
    notes = record.notes | {"threshold": best}
    replace(record, val_score=tried[best], notes=notes).write(run.out)
    return best


def _whole(settings: DictConfig, split: str) -> Tensor:
    """Masks of all objects in the crops of a split, uint8 (N, H, W)."""
    source = open_source(settings)
    assert isinstance(source, ClickedMasks)
    options = {field.name: getattr(source, field.name) for field in fields(source) if field.init}
    crops = getattr(WholeMasks(**options), split)()
    return (crops.images[:, 3] > 0).to(torch.uint8)


def _found(folder: Path, task: Task, data: LabelledImages, grid: tuple[int, int] | None = None) -> Tensor:
    """Probability of each pixel to be inside of an object, (N, H, W)."""
    judge = Judge(task.kind, data, task.normalisation, {"resamples": 1, "confidence": 0.95, "seed": 0})
    return judge.outputs(on_grid(folder, task.backbone(), grid))[:, 0].sigmoid()


def answers(folder: Path, task: Task, data: LabelledImages, grid: tuple[int, int] | None = None) -> Tensor:
    """Logits (N, 1, H, W) of the trained way in `folder` for samples with clicks."""
    return objects(_found(folder, task, data, grid), data, float(str(ArmRecord.read(folder).notes["threshold"])))


def elsewhere(folder: Path, task: Task, case: Case, judge: Judge, data: Path | None) -> Iterator[tuple[str, Tensor]]:
    """Name and scores (N,) wherever the case is also tested."""
    for there in case.elsewhere:
        for name, _ in there.runs(loops=False):
            tested = samples(case, there, data)
            yield name, judge.kind.scores(answers(folder, task, tested, there.grid), tested.labels)
