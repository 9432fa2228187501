"""Mean and standard deviation per channel over batches, to standardise tapped activations and a head's features."""

from collections.abc import Iterable

import torch
from torch import Tensor

from dynaxx.errors import ResonanceError


@torch.no_grad()
def moments(batches: Iterable[list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """(μ, σ) per channel of each part, from batches with one tensor (B, P, C) per part.

    Sums are in float64. Samples with a non-finite value in any part are left out. A constant channel gets the root mean
    square of its part's σ, or 1 if the whole part is constant. So no division by 0 occurs, and messages are written to
    this channel at the scale of its tapped layer.

    >>> mean, std = moments([[torch.tensor([[[0.0], [2.0]]])]])[0]
    >>> float(mean), float(std)
    (1.0, 1.0)

    Raises:
        ResonanceError: the batches hold no finite sample.
    """
    sums: list[list[Tensor]] = []  # of every part: how many positions, their sum, and the sum of their squares
    for parts in batches:
        finite_B = torch.stack([torch.isfinite(part).flatten(1).all(1) for part in parts]).all(0)
        kept = [part[finite_B].double().flatten(0, 1) for part in parts]
        more = [[torch.tensor(len(k)), k.sum(0), k.square().sum(0)] for k in kept]
        sums = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(sums, more, strict=True)] if sums else more
    if not sums or not any(count for count, _, _ in sums):
        raise ResonanceError("batches: no finite sample to take statistics from; give at least one")
    return [_mean_and_std(*part) for part in sums]


def _mean_and_std(count: Tensor, total_C: Tensor, square_C: Tensor) -> tuple[Tensor, Tensor]:
    mean = total_C / count
    std = (square_C / count - mean.square()).clamp_min(0).sqrt()
    still = std <= 1e-6 * mean.abs().clamp_min(1e-6)
    typical = torch.ones_like(std[0]) if still.all() else std[~still].square().mean().sqrt()
    return mean, torch.where(still, typical, std)
