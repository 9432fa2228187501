"""Layer selection from start to end: list candidate layers, score them, choose, and write the table."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx import ResonanceConfig, ResonanceError
from dynaxx.backbone import resolve
from dynaxx.data import LabelledImages, Normalisation, split_each_class
from dynaxx.selection.candidates import candidates
from dynaxx.selection.choose import choose
from dynaxx.selection.features import LAST, grid_features, layer_features, reads_positions
from dynaxx.selection.folds import canonical_order
from dynaxx.selection.overhead import overhead
from dynaxx.selection.scores import Score, score
from dynaxx.tasks import Kind, Metric

POSITIONS = 100_000
"""Largest number of positions of all images together that are read, where heads answer in every position."""


@dataclass(frozen=True)
class Selection:
    """Scores of all candidates, chosen taps (tapped layers) in depth order, reason for them, and joint overhead.

    `metric` is that of the task's kind, in whose unit values and gains are.
    """

    candidates: list[Score]
    chosen: list[str]
    reason: str
    overhead: float
    metric: Metric

    def write(self, path: Path) -> None:
        """Write the selection as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def select_layers(
    kind: Kind,
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
    features: Mapping[str, Tensor] | None = None,
) -> Selection:
    """Score every candidate layer on labelled training images; choose taps (tapped layers), or take the given ones.

    The answer is the same however the images are ordered.

    >>> select_layers(Classification(), backbone, images, normalisation, layers="auto", taps=3, folds=5,
    ...               max_images=2000, seed=0, options={"T": 4, "rank": 31}).chosen
    ['layer1', 'layer3', 'layer4']

    Args:
        kind: kind of the task.
        images: training images only; at most `max_images` of them are used, drawn with the class proportions of all;
            where heads answer in every position, at most as many as have `POSITIONS` of them.
        normalisation: normalisation with which the backbone was trained.
        layers: "auto" to choose by score, else stage numbers or module paths; given layers are also scored.
        taps: number of taps to choose if `layers` is "auto".
        folds: number of folds of the cross-validation; groups of images are kept whole.
        options: options of the resonance whose overhead is computed. Their `readout`, or that of the kind, says whether
            heads read the taps or stand behind the last one, and `grid` is that of messages.
        features: what the layers show of `images`, if it is known: path → means and deviations over positions (N, 2 C),
            or, for kinds that answer in every position, activations on the grid (N, P, C). Under `LAST` it has the
            classifier's input (N, F), or the last layer's activations on the grid. None: the backbone is run.

    Raises:
        ResonanceError: a given layer does not exist, features of a candidate are missing, or there are too few layers,
            images or groups.
        TaskError: labels that are not of this kind.
    """
    kind.check(images)
    example = torch.zeros(1, *images.images.shape[1:])
    readout = options.get("readout") or kind.readout
    paths = candidates(backbone, example, readout) if layers == "auto" else resolve(backbone, list(layers))
    if features is not None and (missing := [path for path in (*paths, LAST) if path not in features]):
        raise ResonanceError(f"features: {missing[0]!r} is missing; give those of {', '.join(paths)} and {LAST!r}")
    in_positions = reads_positions(readout)
    most = min(max_images, max(1, POSITIONS // _positions(options, features, example))) if in_positions else max_images
    index = _draw(kind, images, most, seed)
    images = images.subset(index)
    grid: tuple[int, ...] = ()
    if features is not None:
        read: Mapping[str, Tensor] = {path: features[path][index] for path in (*paths, LAST)}
        grid = _grid_of(max(read[path].shape[1] for path in paths), options) if in_positions else ()
    elif in_positions:
        read, grid = grid_features(backbone, paths, images.images, normalisation, options)
    else:
        read = layer_features(backbone, paths, images.images, normalisation)
    channels = {path: read[path].shape[-1] // (1 if in_positions else 2) for path in paths}
    if readout != "classifier":
        options = options | {"readout": readout, "num_classes": kind.outputs(images)}
    last = paths[-1]

    def pair_options(path: str) -> dict[str, Any]:
        """The options of resonance, with the rank reduced to what two taps allow."""
        return options | {"rank": min(options.get("rank", ResonanceConfig.rank), channels[path] + channels[last])}

    overheads = {
        path: 0.0 if path == last else overhead(backbone, [path, last], example, pair_options(path)) for path in paths
    }
    scores = score(kind, images, read, channels=channels, overheads=overheads, grid=grid, folds=folds, seed=seed)
    if layers == "auto":
        deep = len(paths) - len(candidates(backbone, example))
        choice = choose(scores, taps, kind.metric, behind=readout == "classifier", deep=deep)
        chosen, reason = choice.chosen, choice.reason
    else:
        chosen, reason = paths, f"given as select.layers={list(layers)}"
    return Selection(scores, chosen, reason, overhead(backbone, chosen, example, options), kind.metric)


def _draw(kind: Kind, images: LabelledImages, most: int, seed: int) -> Tensor:
    """Numbers of at most `most` images, in an order that does not depend on theirs."""
    order = canonical_order(images)
    if len(images) <= most:
        return order
    strata = kind.strata(images.labels[order])
    if strata is not None:
        return order[split_each_class(strata, most / len(images), seed)[0]]
    part = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:most]
    return order[part.sort().values]


def _positions(options: Mapping[str, Any], features: Mapping[str, Tensor] | None, example: Tensor) -> int:
    """Number of positions of an image; without a given grid or features, one for 16² pixels is meant."""
    if features is not None:
        return max(x.shape[1] for x in features.values())
    grid = options.get("grid")
    return math.prod(grid) if grid else max(1, example[0, 0].numel() // 256)


def _grid_of(positions: int, options: Mapping[str, Any]) -> tuple[int, int]:
    """(h, w) of so many positions: that of the options, or a square."""
    side = math.isqrt(positions)
    height, width = options.get("grid") or (side, side)
    if height * width != positions:
        raise ResonanceError(
            f"resonance.grid={options.get('grid')}: the features have {positions} positions; give their (height, width)"
        )
    return int(height), int(width)
