"""What the report shows of single test samples, as the task kind allows: a gallery, pictures of answers, a scatter.

Shape legend: S seeds, N test samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dynaxx.evaluation.gallery import Disagreement, disagreements
from dynaxx.evaluation.inside import photograph, tiled
from dynaxx.evaluation.inside.pictures import enlarged
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.statistics import Scores

ANSWERS = "answers"
"""Name of the picture of answers."""
PICTURED = 4
"""Most rows of that picture that the reading gains over the probe, and as many that it loses."""
POINTS = 500
"""Most points of a scatter."""


@dataclass(frozen=True)
class Scatter:
    """Measured numbers, and what two arms predict with the first seed."""

    column: str
    """Name of the number; empty if the label is one number without a name."""
    measured: list[float]
    predicted: dict[str, list[float]]
    """Arm → predicted numbers."""


@dataclass(frozen=True)
class Shown:
    """Single test samples, of the probe and the best reading; what the kind does not have is empty."""

    disagreements: list[Disagreement] = field(default_factory=list)
    """Samples on which the classes differ."""
    columns: list[str] = field(default_factory=list)
    """Columns of the picture `answers`."""
    scatter: list[Scatter] = field(default_factory=list)


@dataclass(frozen=True)
class Answered:
    """What one arm answers on the test samples."""

    scores: Scores
    first: Tensor
    """Outputs of the first seed, (N, …)."""
    classes: Tensor | None
    """Class numbers of all seeds, (S, N); None if answers are no classes."""


def shown(
    judge: Judge, probe: Answered, best: Answered, names: tuple[str, str], most: int
) -> tuple[Shown, dict[str, Tensor]]:
    """What is to be shown of the samples, and its pictures.

    >>> found, pictures = shown(judge, of_probe, of_explicit, ("probe", "explicit"), most=12)

    Args:
        judge: judge of the test samples.
        probe, best: what the probe and the best reading answer.
        names: names of the two arms.
        most: number of samples that the reading gains over the probe, and that it loses; 0 shows none.

    Returns:
        (shown, pictures): pictures map a name to a uint8 array (H, W, 3).
    """
    pictures: dict[str, Tensor] = {}
    found: list[Disagreement] = []
    if most and probe.classes is not None and best.classes is not None:
        data = judge.data
        found = disagreements(
            best.classes.numpy(), probe.classes.numpy(), data.labels.numpy(), tuple(data.classes), most
        )
        pictures |= {gallery_name(one): photograph(data.images[one.image]) for one in found}
    rows = _rows(judge, probe, best, min(most, PICTURED))
    if rows:
        pictures[ANSWERS] = tiled(rows)
    columns = ["image", "truth", *names] if rows else []
    return Shown(found, columns, _scatter(judge, dict(zip(names, (probe, best), strict=True)))), pictures


def gallery_name(disagreement: Disagreement) -> str:
    """Name of the picture of one test image in the gallery: `image_7` for test image 7."""
    return f"image_{disagreement.image}"


def _rows(judge: Judge, probe: Answered, best: Answered, most: int) -> list[list[Tensor]]:
    """Tiles: a row for each sample that the best reading gains or loses most; empty if answers are no pictures."""
    kind, data = judge.kind, judge.data
    if not most or kind.drawn(data.images[0], data.labels[0]) is None:
        return []
    gain = best.scores.values.mean(0) - probe.scores.values.mean(0)
    order = np.argsort(-gain if kind.metric.higher_is_better else gain, kind="stable").tolist()
    rows = []
    for number in dict.fromkeys([*order[:most], *order[-most:]]):
        image = data.images[number]
        answers = [kind.predictions(arm.first[number : number + 1])[0] for arm in (probe, best)]
        tiles = [kind.drawn(image, answer) for answer in (data.labels[number], *answers)]
        rows.append([photograph(image), *(enlarged(tile) for tile in tiles if tile is not None)])
    return rows


def _scatter(judge: Judge, arms: Mapping[str, Answered]) -> list[Scatter]:
    measured = judge.kind.numbers(judge.data.labels)
    if measured is None:
        return []
    columns = measured.shape[1]
    names = judge.data.classes if len(judge.data.classes) == columns else [""] * columns
    some = torch.randperm(len(measured), generator=torch.Generator().manual_seed(0))[:POINTS].sort().values
    return [
        Scatter(
            names[n],
            measured[some, n].tolist(),
            {name: answered.first[some, n].tolist() for name, answered in arms.items()},
        )
        for n in range(columns)
    ]
