"""Which couplings matter: the trained loop without each of them, without all into one tap, and with those alone.

Shape legend: S seeds, N test images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.data.progress import track
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.statistics.paired import Bootstrap, Interval, paired_bootstrap


@dataclass(frozen=True)
class Ablation:
    """The trained loop, nothing retrained, with some of its couplings silenced."""

    name: str
    silenced: int
    """How many couplings."""
    accuracy_per_seed: list[float]
    difference: Interval
    """Accuracy minus that of the whole loop, a fraction."""


def ablations(
    loops: Sequence[ResonantModel], images: Tensor, labels: NDArray[np.int64], bootstrap: Bootstrap
) -> list[Ablation]:
    """Without each coupling in turn, without all into one tap, and with those alone where the output reads the tap.

    Args:
        loops: explicit, one a seed, all with the same couplings.
        images: normalised, (N, C, H, W).
    """
    whole = _correct(loops, images, labels, [])
    found = []
    for name, silenced in track(list(_cuts(loops[0]).items()), "silencing couplings"):
        correct = _correct(loops, images, labels, silenced)
        found.append(
            Ablation(
                name,
                len(silenced),
                [float(row.mean()) for row in correct],
                paired_bootstrap(correct, whole, **bootstrap),
            )
        )
    return found


def _cuts(loop: ResonantModel) -> dict[str, list[int]]:
    """What to silence, by name."""
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
