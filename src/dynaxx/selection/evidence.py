"""Evidence whether resonance may help a backbone, from a few hundred labelled images and before any training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dynaxx import ResonanceError
from dynaxx.backbone import find_classifier, resolve
from dynaxx.data import LabelledImages, Normalisation, split_each_class
from dynaxx.selection.candidates import candidates
from dynaxx.selection.cka import debiased_cka
from dynaxx.selection.logistic import cross_validated, mutual_information
from dynaxx.selection.scores import CKA_SAMPLES
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features

MIN_IMAGES = 100
"""Smallest number of labelled images that gives usable evidence."""


@dataclass(frozen=True)
class Evidence:
    """Measurements of a backbone on labelled images.

    >>> gather(backbone, images, normalisation).probe_gain
    0.034

    Attributes:
        images: number of labelled images.
        classes: number of classes.
        taps: module paths of the candidate layers (taps), in depth order.
        channels: number of channels of each candidate.
        last_accuracy: cross-validated accuracy of a linear probe on the classifier's input (the last layer).
        probe_gain: accuracy of the same probe on all taps and the classifier's input together, minus `last_accuracy`.
        standard_error: standard error of `probe_gain` over the images (paired).
        entropy: entropy H(Y) of the labels, in bits.
        information_left: H(Y) minus the bits about the label that a probe on the last layer explains.
        redundancy: smallest debiased linear CKA between a tap and the last layer; 1 means no new information.
    """

    images: int
    classes: int
    taps: list[str]
    channels: list[int]
    last_accuracy: float
    probe_gain: float
    standard_error: float
    entropy: float
    information_left: float
    redundancy: float

    @property
    def share_left(self) -> float:
        """`information_left` as a share of the label entropy H(Y)."""
        return self.information_left / self.entropy


def gather(
    backbone: nn.Module,
    images: LabelledImages,
    normalisation: Normalisation,
    *,
    layers: str | Sequence[int | str] = "auto",
    max_images: int = 500,
    folds: int = 5,
    seed: int = 0,
) -> Evidence:
    """Measure a trained backbone on at most `max_images` labelled images of the task.

    >>> gather(backbone, images, Normalisation(mean=(0.5,), std=(0.25,))).taps
    ['layer1', 'layer2', 'layer3', 'layer4']

    Args:
        backbone: trained network in eval mode.
        images: labelled images on which the backbone was not trained.
        normalisation: normalisation with which the backbone was trained.
        layers: "auto" for all layers that can be coupled, else stage numbers or module paths.
        max_images: largest number of images that are evaluated, drawn with the class proportions of `images`.
        folds: number of folds of the cross-validation.
        seed: seed of the draw and of the folds.

    Raises:
        ResonanceError: there are too few images or classes, or a given layer does not exist.
    """
    if images.kind != "classes":
        raise ResonanceError(
            f"images: the labels are {images.kind}, and advice is calibrated on classes alone; run "
            "`dvc repro select_layers`, which scores the layers for labels of any kind"
        )
    if len(images) > max_images:
        part, _ = split_each_class(images.labels, max_images / len(images), seed)
        images = images.subset(part)
    counts = images.labels.bincount()
    counts = counts[counts > 0]
    if len(images) < MIN_IMAGES or len(counts) < 2 or int(counts.min()) < folds:
        raise ResonanceError(
            f"images: {len(images)} of {len(counts)} classes, {int(counts.min()) if len(counts) else 0} of the rarest; "
            f"give at least {MIN_IMAGES}, of two classes or more, and {folds} of each"
        )
    example = torch.zeros(1, *images.images.shape[1:])
    paths = candidates(backbone, example) if layers == "auto" else resolve(backbone, list(layers))
    classifier, _ = find_classifier(backbone, None)
    features = pooled_features(backbone, paths, classifier, images.images, normalisation)
    last, y = features[PENULTIMATE], images.labels.unique(return_inverse=True)[1]
    alone = cross_validated(last, y, folds, seed)
    joined = cross_validated(torch.cat([*(features[path] for path in paths), last], dim=1), y, folds, seed)
    gain = _correct(joined, y) - _correct(alone, y)
    prior = float(torch.distributions.Categorical(y.bincount().double()).entropy() / np.log(2))
    return Evidence(
        images=len(y),
        classes=len(counts),
        taps=list(paths),
        channels=[features[path].shape[1] for path in paths],
        last_accuracy=float(_correct(alone, y).mean()),
        probe_gain=float(gain.mean()),
        standard_error=float(gain.std(ddof=1) / np.sqrt(len(gain))),
        entropy=prior,
        information_left=prior - mutual_information(alone, y.numpy()),
        redundancy=min(debiased_cka(features[path][:CKA_SAMPLES], last[:CKA_SAMPLES]) for path in paths),
    )


def _correct(probabilities: np.ndarray, y: Tensor) -> np.ndarray:
    return (probabilities.argmax(1) == y.numpy()).astype(float)
