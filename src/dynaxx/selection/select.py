"""Layer selection from start to end: list candidate layers, score them, choose, and write the table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynaxx import ResonanceConfig
from dynaxx.backbone import find_classifier, resolve
from dynaxx.data import LabelledImages, Normalisation, split_each_class
from dynaxx.selection.candidates import candidates
from dynaxx.selection.choose import choose
from dynaxx.selection.overhead import overhead
from dynaxx.selection.scores import Score, score
from dynaxx.training.pooled_features import PENULTIMATE, pooled_features


@dataclass(frozen=True)
class Selection:
    """Scores of all candidates, chosen taps (tapped layers) in depth order, reason for them, and joint overhead."""

    candidates: list[Score]
    chosen: list[str]
    reason: str
    overhead: float

    def write(self, path: Path) -> None:
        """Write the selection as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def select_layers(
    backbone: nn.Module,
    images: LabelledImages,
    normalisation: Normalisation,
    *,
    layers: str | Sequence[int | str],
    taps: int,
    folds: int,
    max_images: int,
    seed: int,
    options: dict[str, Any],
) -> Selection:
    """Score every candidate layer on labelled training images; choose taps (tapped layers), or take the given ones.

    >>> select_layers(backbone, images, normalisation, layers="auto", taps=3, folds=5,
    ...               max_images=2000, seed=0, options={"T": 4, "rank": 31}).chosen
    ['layer1', 'layer3', 'layer4']

    Args:
        images: training images only; at most `max_images` of them are used, drawn with the class proportions of all.
        normalisation: normalisation with which the backbone was trained.
        layers: "auto" to choose by score, else stage numbers or module paths; given layers are also scored.
        taps: number of taps to choose if `layers` is "auto".
        folds: number of folds of the cross-validation.
        options: options of the resonance whose overhead is computed.

    Raises:
        ResonanceError: a given layer does not exist, or there are too few layers to couple.
    """
    if len(images) > max_images:
        part, _ = split_each_class(images.labels, max_images / len(images), seed)
        images = images.subset(part)
    example = torch.zeros(1, *images.images.shape[1:])
    paths = candidates(backbone, example) if layers == "auto" else resolve(backbone, list(layers))
    classifier, _ = find_classifier(backbone, None)
    features = pooled_features(backbone, paths, classifier, images.images, normalisation)
    last = paths[-1]

    def pair_options(path: str) -> dict[str, Any]:
        """The options of resonance, with the rank reduced to what two taps allow."""
        return options | {
            "rank": min(options.get("rank", ResonanceConfig.rank), features[path].shape[1] + features[last].shape[1])
        }

    scores = [
        score(
            path,
            features[path],
            features[PENULTIMATE],
            images.labels,
            folds=folds,
            seed=seed,
            overhead=0.0 if path == last else overhead(backbone, [path, last], example, pair_options(path)),
        )
        for path in paths
    ]
    if layers == "auto":
        choice = choose(scores, taps)
        chosen, reason = choice.chosen, choice.reason
    else:
        chosen, reason = paths, f"given as select.layers={list(layers)}"
    return Selection(scores, chosen, reason, overhead(backbone, chosen, example, options))
