"""Mean and standard deviation per channel over batches, to standardise tapped activations and a head's features."""

import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dynaxx.errors import ResonanceError, ResonanceWarning


@torch.no_grad()
def moments(
    batches: Iterable[Sequence[Tensor | tuple[Tensor, Tensor]]], names: Sequence[str] = ()
) -> list[tuple[Tensor, Tensor]]:
    """(μ, σ) per channel of each part, from batches with one tensor (B, P, C) per part.

    A part may also be a pair with a mask (B, P) of the positions that count, all others being padding.

    Sums are in float64. Samples with a non-finite value in any part are left out, and a warning counts them. A constant
    channel gets the root mean square of its part's σ, or 1 if the whole part is constant. So no division by 0 occurs,
    and messages are written to this channel at the scale of its tapped layer.

    >>> mean, std = moments([[torch.tensor([[[0.0], [2.0]]])]])[0]
    >>> float(mean), float(std)
    (1.0, 1.0)

    Raises:
        ResonanceError: no batch, or no finite sample in any; `names` are those of the parts, for the message.
    """
    sums: list[list[Tensor]] = []  # of every part: how many positions, their sum, and the sum of their squares
    samples = lost = 0
    for parts in batches:
        masked = [part if isinstance(part, tuple) else (part, None) for part in parts]
        finite_B = torch.stack([_finite(*part) for part in masked]).all(0)
        samples, lost = samples + len(finite_B), lost + int((~finite_B).sum())
        whole = [(x[finite_B], None if mask is None else mask[finite_B]) for x, mask in masked]
        kept = [(x.flatten(0, 1) if mask is None else x[mask]).double() for x, mask in whole]
        more = [[torch.tensor(len(k)), k.sum(0), k.square().sum(0)] for k in kept]
        sums = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(sums, more, strict=True)] if sums else more
    if not samples:
        raise ResonanceError("batches: there is none to take statistics from; give at least one batch of inputs")
    if not all(count for count, _, _ in sums):
        empty = next((name for name, part in zip(names, sums, strict=False) if not part[0]), None)
        where = "" if empty is None or not any(count for count, _, _ in sums) else f" of {empty!r}"
        raise ResonanceError(f"batches: no finite sample{where} to take statistics from; give at least one")
    if lost:
        warnings.warn(
            f"batches: {lost} of {samples} samples are not finite in the tapped layers, and were left out",
            ResonanceWarning,
            stacklevel=3,
        )
    return [_mean_and_std(*part) for part in sums]


def _finite(x_BPC: Tensor, mask_BP: Tensor | None) -> Tensor:
    finite_BP = torch.isfinite(x_BPC).all(2)
    return (finite_BP if mask_BP is None else finite_BP | ~mask_BP).all(1)


def _mean_and_std(count: Tensor, total_C: Tensor, square_C: Tensor) -> tuple[Tensor, Tensor]:
    mean = total_C / count
    std = (square_C / count - mean.square()).clamp_min(0).sqrt()
    still = std <= 1e-6 * mean.abs().clamp_min(1e-6)
    typical = torch.ones_like(std[0]) if still.all() else std[~still].square().mean().sqrt()
    return mean, torch.where(still, typical, std)
