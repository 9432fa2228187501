"""Accuracy of the trained loop with some couplings (maps from one tapped layer to another) set to zero.

Shape legend: S seeds, N test images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.data import track
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.statistics import Bootstrap, Interval, paired_bootstrap


@dataclass(frozen=True)
class Ablation:
    """Test accuracy of the trained loop with some couplings set to zero, without retraining."""

    name: str
    silenced: int
    """Number of couplings that the ablation sets to zero."""
    accuracy_per_seed: list[float]
    difference: Interval
    """Test accuracy minus the test accuracy of the complete loop, as a fraction."""


def ablations(
    loops: Sequence[ResonantModel], images: Tensor, labels: NDArray[np.int64], bootstrap: Bootstrap
) -> list[Ablation]:
    """Ablate each coupling, all couplings into one tapped layer, and all except those into an output layer.

    >>> ablations([model], images, labels, bootstrap)[0].name
    'without layer1 → layer2'

    Args:
        loops: trained models of the arm `explicit`, one per seed, with couplings between the same layers.
        images: normalised test images, (N, C, H, W).
    """
    whole = _correct(loops, images, labels, [])
    results = []
    for name, silenced in track(list(_cuts(loops[0]).items()), "silencing couplings"):
        correct = _correct(loops, images, labels, silenced)
        results.append(
            Ablation(
                name,
                len(silenced),
                [float(row.mean()) for row in correct],
                paired_bootstrap(correct, whole, **bootstrap),
            )
        )
    return results


def _cuts(loop: ResonantModel) -> dict[str, list[int]]:
    """Name of the ablation → indices of the couplings to set to zero."""
    exchange = loop.require_built().exchange
    pairs = exchange.couplings.pairs
    cuts = {f"without {exchange.names[p.source]} → {exchange.names[p.target]}": [n] for n, p in enumerate(pairs)}
    for tap in exchange.outputs:
        others = [n for n, pair in enumerate(pairs) if pair.target != tap]
        if others and len(others) < len(pairs):
            cuts[f"only into {exchange.names[tap]}"] = others
    for target in sorted({pair.target for pair in pairs}):
        into = [n for n, pair in enumerate(pairs) if pair.target == target]
        if 1 < len(into) < len(pairs):
            cuts[f"without any into {exchange.names[target]}"] = into
    return cuts


def _correct(
    loops: Sequence[ResonantModel], images: Tensor, labels: NDArray[np.int64], silenced: list[int]
) -> NDArray[np.bool_]:
    rows = []
    for loop in loops:
        with loop.ablated(silenced):
            rows.append(logits(loop, images).argmax(1).numpy() == labels)
    return np.stack(rows)
