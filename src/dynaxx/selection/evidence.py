"""What a few hundred labelled images tell about a backbone, before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dynaxx import ResonanceError
from dynaxx.backbone.head import find_classifier
from dynaxx.backbone.layers import resolve
from dynaxx.data import LabelledImages, Normalisation, stratified_halves
from dynaxx.selection.candidates import candidates
from dynaxx.selection.cka import debiased_cka
from dynaxx.selection.scores import CKA_SAMPLES, mutual_information, predicted
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features

FEWEST = 100
"""Images below which nothing can be told."""


@dataclass(frozen=True)
class Evidence:
    """Measured on `images` labelled images.

    Attributes:
        images: how many.
        classes: of the task.
        taps: the layers looked at, in depth order.
        channels: of each.
        last_accuracy: of a cross-validated probe on what the classifier reads.
        probe_gain: accuracy of one on all taps and the last layer, minus `last_accuracy`.
        standard_error: of the gain, over the images (paired).
        entropy: H(Y) of the labels, bits.
        information_left: H(Y) minus what the last layer's probe tells about the label, bits.
        redundancy: smallest debiased linear CKA between a tap and the last layer; 1 is no news.
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
        """`information_left` as a share of H(Y)."""
        return self.information_left / self.entropy


def gather(
    backbone: nn.Module,
    images: LabelledImages,
    normalisation: Normalisation,
    *,
    layers: str | Sequence[int | str] = "auto",
    most: int = 500,
    folds: int = 5,
    seed: int = 0,
) -> Evidence:
    """Look at a trained backbone with at most `most` labelled images of the task.

    Args:
        backbone: in eval mode.
        images: which the backbone was not trained on.
        normalisation: the one that the backbone was trained with.
        layers: "auto" takes all that can be coupled, else stage numbers or module paths.

    Raises:
        ResonanceError: too few images or classes, or layers that do not exist.
    """
    if len(images) > most:
        part, _ = stratified_halves(images.labels, most / len(images), seed)
        images = images.subset(part)
    counts = images.labels.bincount()
    counts = counts[counts > 0]
    if len(images) < FEWEST or len(counts) < 2 or int(counts.min()) < folds:
        raise ResonanceError(
            f"images: {len(images)} of {len(counts)} classes, {int(counts.min()) if len(counts) else 0} of the rarest; "
            f"give at least {FEWEST}, of two classes or more, and {folds} of each"
        )
    example = torch.zeros(1, *images.images.shape[1:])
    paths = candidates(backbone, example) if layers == "auto" else resolve(backbone, list(layers))
    classifier, _ = find_classifier(backbone, None)
    features = pooled_features(backbone, paths, classifier, images.images, normalisation)
    last, y = features[PENULTIMATE], images.labels.unique(return_inverse=True)[1]
    alone = predicted(last, y, folds, seed)
    joined = predicted(torch.cat([*(features[path] for path in paths), last], dim=1), y, folds, seed)
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
