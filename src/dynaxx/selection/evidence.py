"""Evidence whether other layers may help, from a few hundred labelled images and before any training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from dynaxx import ResonanceError
from dynaxx.backbone import find_classifier, resolve
from dynaxx.data import LabelledImages, Normalisation, split_each_class
from dynaxx.selection.candidates import candidates
from dynaxx.selection.cka import debiased_cka
from dynaxx.selection.features import LAST, grid_features, layer_features
from dynaxx.selection.folds import fold_numbers
from dynaxx.selection.logistic import cross_validated, mutual_information
from dynaxx.selection.scores import CKA_SAMPLES, Readings, standard_error
from dynaxx.selection.travel import Travel, travel
from dynaxx.tasks import Kind, Metric, kind_of
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features

MIN_IMAGES = 100
"""Smallest number of labelled images that gives usable evidence."""
POSITIONS = 100_000
"""Largest number of positions of all images together that are read, where every position has a label."""
KINDS = {"classes": "classification", "numbers": "regression", "masks": "segmentation"}
"""Kind of the labels → the kind of task that they are taken for."""


@dataclass(frozen=True)
class Evidence:
    """Measurements of a backbone on labelled images.

    >>> gather(backbone, images, normalisation).probe_gain
    0.034

    Gains are differences of a score, such as an accuracy; of an error they are the share of it that goes.

    Attributes:
        images: number of labelled images.
        labels: what their labels are, such as `10 classes`.
        metric: the metric of the values.
        taps: module paths of the candidate layers (taps), in depth order.
        channels: number of channels of each candidate.
        last_value: cross-validated metric of a linear reading of the last layer, the classifier's input.
        probe_gain: what a linear reading of all taps and the last layer together gains over it.
        single_gain: what the best tap alone gains over it.
        standard_error: standard error of `probe_gain` over the images, or their groups (paired).
        share_left: share of the label's information, or variance, that the reading of the last layer leaves.
        redundancy: smallest debiased linear CKA between a tap and the last layer; 1 means no new information.
        travel: how far what is given with an image has to get; None where nothing has to.
    """

    images: int
    labels: str
    metric: Metric
    taps: list[str]
    channels: list[int]
    last_value: float
    probe_gain: float
    single_gain: float
    standard_error: float
    share_left: float
    redundancy: float
    travel: Travel | None = None

    @property
    def one_layer(self) -> bool:
        """Whether the best single layer is as good as all, within a standard error."""
        return self.single_gain >= self.probe_gain - self.standard_error


def gather(
    backbone: nn.Module,
    images: LabelledImages,
    normalisation: Normalisation,
    *,
    kind: Kind | None = None,
    layers: str | Sequence[int | str] = "auto",
    max_images: int = 500,
    folds: int = 5,
    seed: int = 0,
    grid: tuple[int, int] | None = None,
) -> Evidence:
    """Measure a trained backbone on at most `max_images` labelled images of the task.

    >>> gather(backbone, images, Normalisation(mean=(0.5,), std=(0.25,))).taps
    ['layer1', 'layer2', 'layer3', 'layer4']

    Args:
        backbone: trained network in eval mode.
        images: labelled images on which the backbone was not trained.
        normalisation: normalisation with which the backbone was trained.
        kind: kind of the task; None: what the labels say, classification, regression or segmentation.
        layers: "auto" for all layers that can be coupled, else stage numbers or module paths.
        max_images: largest number of images that are evaluated, drawn with the class proportions of `images`.
        folds: number of folds of the cross-validation, as many as there are groups if that is less; groups are whole.
        seed: seed of the draw and of the folds.
        grid: height and width of the grid of messages, for masks; None: an eighth of the image's.

    Raises:
        ResonanceError: there are too few images, classes or groups, a given layer does not exist, or the kind has no
            labels to learn from.
    """
    kind = kind or kind_of(KINDS[images.kind])
    if not kind.labelled:
        raise ResonanceError(
            f"task.kind={kind.name}: advice needs labels, and there are none; `dvc repro` compares the arms in minutes"
        )
    kind.check(images)
    images = _drawn(images, max_images, seed)
    counts = images.labels.bincount() if images.kind == "classes" else torch.tensor([len(images)] * 2)
    counts = counts[counts > 0]
    if len(images) < MIN_IMAGES or len(counts) < 2 or int(counts.min()) < folds:
        of = f" of {len(counts)} classes, {int(counts.min()) if len(counts) else 0} of the rarest"
        raise ResonanceError(
            f"images: {len(images)}{of if images.kind == 'classes' else ''}; give at least {MIN_IMAGES}"
            + (f", of two classes or more, and {folds} of each" if images.kind == "classes" else "")
        )
    if images.groups:
        groups = len(set(images.groups))
        if groups < 2:
            raise ResonanceError("images: all are of one group, and nothing is left out; give images of two or more")
        folds = min(folds, groups)
    example = torch.zeros(1, *images.images.shape[1:])
    paths = candidates(backbone, example) if layers == "auto" else resolve(backbone, list(layers))
    seen = _Seen(kind, backbone, images, normalisation, paths, folds, seed)
    return _of_classes(seen) if images.kind == "classes" else _of_others(seen, grid)


@dataclass(frozen=True)
class _Seen:
    """What is measured: a network's layers on labelled images of a task, by folds."""

    kind: Kind
    backbone: nn.Module
    images: LabelledImages
    normalisation: Normalisation
    paths: Sequence[str]
    folds: int
    seed: int

    def readings(self, features: Mapping[str, Tensor], grid: Sequence[int] = ()) -> Readings:
        """Linear readings of the layers' features, by ridge regression."""
        return Readings(self.kind, self.images, features, grid=grid, folds=self.folds, seed=self.seed)


def _drawn(images: LabelledImages, most: int, seed: int) -> LabelledImages:
    if len(images) <= most:
        return images
    if images.kind == "classes":
        return images.subset(split_each_class(images.labels, most / len(images), seed)[0])
    part = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:most]
    return images.subset(part.sort().values)


def _of_classes(seen: _Seen) -> Evidence:
    """Evidence by logistic probes, on whose numbers the advice was calibrated."""
    images, paths = seen.images, seen.paths
    classifier, _ = find_classifier(seen.backbone, None)
    features = pooled_features(seen.backbone, paths, classifier, images.images, seen.normalisation)
    last, y = features[PENULTIMATE], images.labels.unique(return_inverse=True)[1]
    fold = fold_numbers(len(y), y, images.groups, seen.folds, seen.seed)
    if any(len(y[fold != number].unique()) < 2 for number in fold.unique().tolist()):
        raise ResonanceError("images: without some groups one class is left; give groups that hold several classes")
    alone = cross_validated(last, y, fold)
    joined = cross_validated(torch.cat([*(features[path] for path in paths), last], dim=1), y, fold)
    # by ridge regression, which many layers take no time for
    readings = seen.readings({path: features[path] for path in paths} | {LAST: last})
    single = max(readings.value(path) for path in paths) - readings.value(LAST)
    gain = _correct(joined, y) - _correct(alone, y)
    entropy = float(torch.distributions.Categorical(y.bincount().double()).entropy() / np.log(2))
    accuracy = float(_correct(alone, y).mean())
    return Evidence(
        images=len(y),
        labels=f"{len(y.unique())} classes",
        metric=Metric("accuracy"),
        taps=list(paths),
        channels=[features[path].shape[1] for path in paths],
        last_value=accuracy,
        probe_gain=float(gain.mean()),
        single_gain=single,
        standard_error=standard_error(gain, images.groups),
        share_left=1 - mutual_information(alone, y.numpy()) / entropy,
        redundancy=min(debiased_cka(features[path][:CKA_SAMPLES], last[:CKA_SAMPLES]) for path in paths),
    )


def _of_others(seen: _Seen, grid: tuple[int, int] | None) -> Evidence:
    """Evidence by ridge regression: of numbers, or of masks in every position."""
    kind, paths, gone = seen.kind, seen.paths, None
    on: tuple[int, ...] = ()
    if kind.readout == "map":
        side, (height, width) = kind.stride or 8, seen.images.labels.shape[1:]
        height, width = grid or (max(1, height // side), max(1, width // side))
        gone = travel(seen.images, (height, width))
        most = max(MIN_IMAGES, POSITIONS // (height * width))
        seen = replace(seen, images=_drawn(seen.images, most, seen.seed))
        chosen = {"grid": (height, width)}
        read, on = grid_features(seen.backbone, paths, seen.images.images, seen.normalisation, chosen)
    else:
        read = layer_features(seen.backbone, paths, seen.images.images, seen.normalisation)
    readings = seen.readings(read, on)
    base, joined = readings.scores(LAST), readings.scores(*paths, LAST)
    last = kind.metric.of(base.numpy())
    scale = 1.0 if kind.metric.higher_is_better else 1 / max(last, 1e-12)
    gain, error = readings.gain(joined, base)
    single = max(kind.metric.gain(readings.value(path), last) for path in paths)
    flat = readings.flat
    step = max(1, -(-len(flat[LAST]) // CKA_SAMPLES))
    return Evidence(
        images=len(seen.images),
        labels="masks" if on else "numbers",
        metric=kind.metric,
        taps=list(paths),
        channels=[read[path].shape[-1] // (1 if on else 2) for path in paths],
        last_value=last,
        probe_gain=scale * gain,
        single_gain=scale * single,
        standard_error=scale * error,
        share_left=readings.left(LAST),
        redundancy=min(debiased_cka(flat[path][::step], flat[LAST][::step]) for path in paths),
        travel=gone,
    )


def _correct(probabilities: np.ndarray, y: Tensor) -> np.ndarray:
    return (probabilities.argmax(1) == y.numpy()).astype(float)
