"""Scores of the candidate layers: what each adds to the last layer about the label, and what it knows alone.

The probe is ridge regression of the label's numbers (`Kind.coded`: a class is one column, as in regularised
least-squares classification; a mask is shares of classes a position), cross-validated, its penalty chosen by squared
error; see `ridge`. Its values stand somewhat below those of a logistic probe of the same features; what is compared are
differences of the same probe.

Shape legend: N samples, P positions of the grid, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynaxx import ResonanceError
from dynaxx.data import LabelledImages
from dynaxx.selection.cka import debiased_cka
from dynaxx.selection.features import LAST
from dynaxx.selection.folds import fold_numbers
from dynaxx.selection.ridge import OutOfFold
from dynaxx.tasks import Kind, Metric

CKA_SAMPLES = 1000
"""Largest number of samples in a CKA, whose Gram matrices grow quadratically with this number."""
FITTED_POSITIONS = 20_000
"""Largest number of positions that are fitted, drawn from all images alike; all positions are predicted."""


@dataclass(frozen=True)
class Score:
    """The scores of one candidate tap, a row of the selection table.

    Numbers are in the unit of the kind's metric, as a fraction for accuracy or IoU. Without labels all but `redundancy`
    and `overhead` are None.

    >>> Score("layer3", 64, value=0.91, probe_gain=0.04, standard_error=0.01, redundancy=0.41,
    ...       mutual_information=2.7, overhead=0.02).tap
    'layer3'

    Attributes:
        tap: module path of the tap.
        channels: number of channels of the tap.
        value: cross-validated metric of a linear probe on the tap alone.
        probe_gain: how much better the probe on tap and last layer is than that on the last layer alone, > 0 if better.
        standard_error: standard error of `probe_gain` over the samples, or over their groups (paired).
        redundancy: debiased linear CKA between tap and last layer.
        mutual_information: bits about the label that the probe on the tap tells of an unseen sample; for masks, of a
            position.
        overhead: additional FLOPs of coupling this tap to the last one, as a share of the backbone's.
    """

    tap: str
    channels: int
    value: float | None
    probe_gain: float | None
    standard_error: float | None
    redundancy: float
    mutual_information: float | None
    overhead: float


class Readings:
    """Linear readings of layers whose predictions of each sample are made without it.

    >>> readings = Readings(Regression(), images, features, folds=5, seed=0)
    >>> readings.value(LAST)
    0.53

    Args:
        kind: kind of the task.
        images: labels, groups and sources of N samples; their pixels are not read.
        features: path → (N, F), or (N, P, F) of the positions of a grid; the last layer's under `LAST`. Sources of the
            images are read beside all layers.
        grid: (h, w) of the positions.
        folds: number of folds.
        seed: seed of the folds.

    Attributes:
        coded: the labels as numbers; None if the kind has none to train on.
        flat: path → features of all samples or positions.

    Raises:
        ResonanceError: features of another number of samples, or that are not finite; see also `fold_numbers`.
    """

    def __init__(
        self,
        kind: Kind,
        images: LabelledImages,
        features: Mapping[str, Tensor],
        *,
        grid: Sequence[int] = (),
        folds: int,
        seed: int,
    ) -> None:
        for path, x in features.items():
            if len(x) != len(images) or not x.isfinite().all():
                wrong = "not finite" if len(x) == len(images) else f"of {len(x)} samples"
                raise ResonanceError(
                    f"features[{path!r}]: is {wrong}; give finite features of the {len(images)} images"
                )
        self.kind, self.images = kind, images
        self.coded = kind.coded(images.labels, kind.outputs(images), grid) if len(images) else None
        self.flat = {path: _at_positions(x, grid) if grid else x for path, x in features.items()}
        if self.coded is None:
            return
        fold = fold_numbers(len(images), kind.strata(images.labels), images.groups, folds, seed)
        used, flat = None, dict(self.flat)
        if grid:
            count = int(np.prod(grid))
            fold, used = fold.repeat_interleave(count), _drawn(len(images) * count, seed)
            flat |= {name: _at_positions(x, grid) for name, x in images.sources.items()}
        self._sources = [name for name in images.sources if name in flat]
        # a candidate that is the last layer adds nothing to itself
        self._last = {path: LAST for path in features if torch.equal(flat[path], flat[LAST])}
        y = self.coded.reshape(-1, self.coded.shape[-1])
        self._fit = OutOfFold({name: x.flatten(1) for name, x in flat.items()}, y, fold, used)

    def predicted(self, *names: str) -> Tensor:
        """Predictions of `coded` by a reading of these layers."""
        assert self.coded is not None
        layers = [self._last.get(name, name) for name in names]
        return self._fit(list(dict.fromkeys([*layers, *self._sources]))).reshape(self.coded.shape)

    def scores(self, *names: str) -> Tensor:
        """Scores (N,) of a reading of these layers."""
        assert self.coded is not None
        return self.kind.coded_scores(self.predicted(*names), self.coded)

    def value(self, *names: str) -> float:
        """Metric of a reading of these layers."""
        return self.kind.metric.of(self.scores(*names).numpy())

    def gain(self, a_N: Tensor, b_N: Tensor) -> tuple[float, float]:
        """How much better scores `a` are than `b`, and the standard error of that."""
        return _gain(self.kind, a_N, b_N, self.images)

    def left(self, *names: str) -> float:
        """Share of the labels' variance that a reading of these layers leaves."""
        assert self.coded is not None
        numbers = self.coded.flatten(0, -2).double()
        error = (self.predicted(*names).flatten(0, -2) - numbers).square().mean()
        return float(error / (numbers - numbers.mean(0)).square().mean().clamp_min(1e-12))


def score(
    kind: Kind,
    images: LabelledImages,
    features: Mapping[str, Tensor],
    *,
    channels: Mapping[str, int],
    overheads: Mapping[str, float],
    grid: Sequence[int] = (),
    folds: int,
    seed: int,
) -> list[Score]:
    """The scores of all candidates, in the order of `channels`.

    >>> score(Classification(), images, features, channels={"layer1": 64}, overheads={"layer1": 0.01}, folds=5, seed=0)

    Args:
        kind: kind of the task.
        images: labels, groups and sources of N samples; their pixels are not read.
        features: path → (N, F), or (N, P, F) of the positions of a grid; the last layer's under `LAST`. Sources of the
            images are read beside the last layer and beside each tap.
        channels: path → number of channels of the candidates.
        overheads: path → `Score.overhead`.
        grid: (h, w) of the positions.
        folds: number of folds.
        seed: seed of the folds.

    Raises:
        ResonanceError: features of another number of samples, or that are not finite; see also `fold_numbers`.
    """
    readings = Readings(kind, images, features, grid=grid, folds=folds, seed=seed)
    redundancy = {path: _redundancy(readings.flat[path], readings.flat[LAST]) for path in channels}
    coded = readings.coded
    if coded is None:
        return [
            Score(path, channels[path], None, None, None, redundancy[path], None, overheads[path]) for path in channels
        ]
    base = readings.scores(LAST)
    found = []
    for path in channels:
        alone, both = readings.predicted(path), readings.scores(LAST, path)
        gain, error = readings.gain(both, base)
        found.append(
            Score(
                tap=path,
                channels=channels[path],
                value=kind.metric.of(kind.coded_scores(alone, coded).numpy()),
                probe_gain=gain,
                standard_error=error,
                redundancy=redundancy[path],
                mutual_information=kind.bits(alone, coded),
                overhead=overheads[path],
            )
        )
    return found


def _gain(kind: Kind, a_N: Tensor, b_N: Tensor, images: LabelledImages) -> tuple[float, float]:
    """How much better scores `a` are than `b`, and the standard error of that."""
    metric = kind.metric
    gain = metric.gain(metric.of(a_N.numpy()), metric.of(b_N.numpy()))
    slopes = [_per_sample(metric, kind.influence(x_N, images.labels).double()) for x_N in (a_N, b_N)]
    return gain, standard_error((slopes[0] - slopes[1]).numpy(), images.groups)


def _per_sample(metric: Metric, scores_N: Tensor) -> Tensor:
    """Numbers whose scatter over samples is that of the metric: for a root, its slope times the scores."""
    return scores_N / (2 * scores_N.mean().sqrt().clamp_min(1e-12)) if metric.root else scores_N


def standard_error(difference: np.ndarray, groups: Sequence[str]) -> float:
    """Standard error of a mean over samples, (N,), or over groups of samples that vary together.

    >>> round(standard_error(np.array([1.0, 2.0, 3.0, 4.0]), ()), 3)
    0.645
    >>> round(standard_error(np.array([1.0, 1.0, 4.0, 4.0]), ("a", "a", "b", "b")), 3)
    1.5
    """
    members = np.unique(list(groups), return_inverse=True)[1] if groups else np.arange(len(difference))
    sums = np.bincount(members, weights=difference - difference.mean())
    count = len(sums)
    return float(np.sqrt(np.square(sums).sum() * count / max(count - 1, 1)) / len(difference))


def _redundancy(x_NF: Tensor, last_NF: Tensor) -> float:
    step = max(1, -(-len(x_NF) // CKA_SAMPLES))
    return debiased_cka(x_NF[::step].flatten(1), last_NF[::step].flatten(1))


def _at_positions(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Features of all positions of all images, (N P, F), from (N, P, F), (N, 1, F) or a map (N, F, H, W)."""
    height, width = grid
    if x.ndim == 4:
        x = torch.nn.functional.adaptive_avg_pool2d(x.float(), (height, width)).flatten(2).transpose(1, 2)
    return x.expand(-1, height * width, -1).flatten(0, 1)


def _drawn(count: int, seed: int) -> Tensor:
    used = torch.zeros(count, dtype=torch.bool)
    used[torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:FITTED_POSITIONS]] = True
    return used
