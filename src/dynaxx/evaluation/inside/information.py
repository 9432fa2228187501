"""What two taps tell about each other, before the loop and after it."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaxx import ResonantModel, tap_states

COMPONENTS = 16
"""Principal components of each tap that are compared; a tenth of a thousand images could not bear many more."""


@dataclass(frozen=True)
class Information:
    """Mutual information between two taps' activations, averaged over positions, in nats."""

    a: str
    b: str
    before: float
    after: float


def information(model: ResonantModel, images: Tensor) -> list[Information]:
    """Every two taps that receive messages; see `gaussian_information`.

    Args:
        model: explicit.
        images: normalised, (N, C, H, W), N well above `COMPONENTS`; fewer than four times as many give nothing.
    """
    if len(images) < 4 * COMPONENTS:
        return []
    device = next(model.parameters()).device
    before: dict[str, list[Tensor]] = {}
    after: dict[str, list[Tensor]] = {}
    for batch in images.split(256):
        for state in tap_states(model, batch.to(device)):
            before.setdefault(state.tap, []).append(state.before.mean(1).float().cpu())
            after.setdefault(state.tap, []).append(state.after.mean(1).float().cpu())
    pooled = [{tap: torch.cat(parts).double().numpy() for tap, parts in side.items()} for side in (before, after)]
    return [
        Information(a, b, *(gaussian_information(side[a], side[b]) for side in pooled))
        for a, b in combinations(before, 2)
    ]


def gaussian_information(x_NC: NDArray[np.float64], y_NC: NDArray[np.float64], seed: int = 0) -> float:
    """Mutual information of two Gaussian variables with the correlations of `x` and `y`, nats.

    I = -½ Σ log(1 - ρ²) over the canonical correlations ρ of their first principal components (Gelfand and Yaglom,
    1957), minus what the same estimate gives for pairs that were shuffled, whose true value is 0; never below 0. Of
    variables that are not Gaussian it sees what is linear.
    """
    order = np.random.default_rng(seed).permutation(len(x_NC))
    u, v = _whitened(x_NC), _whitened(y_NC)
    return max(0.0, _of(u, v) - _of(u, v[order]))


def _whitened(x_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """An orthonormal basis (N, K) of the first principal components; constant directions are left out."""
    u, s, _ = np.linalg.svd(x_NC - x_NC.mean(0), full_matrices=False)
    return u[:, :COMPONENTS][:, s[:COMPONENTS] > 1e-9 * max(s[0], 1e-300)]


def _of(u: NDArray[np.float64], v: NDArray[np.float64]) -> float:
    correlations = np.clip(np.linalg.svd(u.T @ v, compute_uv=False), 0.0, 1 - 1e-9)
    return float(-0.5 * np.log1p(-(correlations**2)).sum())
