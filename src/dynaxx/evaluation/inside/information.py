"""Mutual information between the activations of two tapped layers, before and after the loop."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.evaluation.predict import AnchorSource
from dynaxx.model import states_of

COMPONENTS = 16
"""Principal components per tapped layer; more components need more images for a reliable estimate."""


@dataclass(frozen=True)
class Information:
    """Mutual information in nats between two tapped layers' activations, averaged over positions."""

    a: str
    b: str
    before: float
    after: float


def information(model: ResonantModel, anchors: AnchorSource) -> list[Information]:
    """Mutual information of every two tapped layers that receive messages; see `gaussian_information`.

    >>> [(pair.a, pair.b) for pair in information(model, live(images))]
    [('layer1', 'layer2'), ('layer1', 'layer3'), ('layer2', 'layer3')]

    Args:
        model: trained model of the arm `explicit`.
        anchors: function that gives the anchors of N test images; the result is empty if N is below four times
            `COMPONENTS`.
    """
    before: dict[str, list[Tensor]] = {}
    after: dict[str, list[Tensor]] = {}
    for batch in anchors(model):
        for state in states_of(model, batch):
            before.setdefault(state.tap, []).append(state.before.mean(1).float().cpu())
            after.setdefault(state.tap, []).append(state.after.mean(1).float().cpu())
    if not before or len(torch.cat(next(iter(before.values())))) < 4 * COMPONENTS:
        return []
    pooled = [{tap: torch.cat(parts).double().numpy() for tap, parts in side.items()} for side in (before, after)]
    return [
        Information(a, b, *(gaussian_information(side[a], side[b]) for side in pooled))
        for a, b in combinations(before, 2)
    ]


def gaussian_information(x_NC: NDArray[np.float64], y_NC: NDArray[np.float64], seed: int = 0) -> float:
    """Mutual information in nats of two Gaussian variables with the correlations of `x` and `y`.

    >>> a = np.random.default_rng(0).standard_normal((200, 1))
    >>> gaussian_information(a, a) > gaussian_information(a, a**2)
    True

    I = -½ Σ log(1 - ρ²) over the canonical correlations ρ of their first principal components (Gelfand and Yaglom,
    1957). The estimate for shuffled pairs, whose true value is 0, is subtracted; the result is at least 0. For
    variables that are not Gaussian, I measures linear dependence only.
    """
    order = np.random.default_rng(seed).permutation(len(x_NC))
    u, v = _whitened(x_NC), _whitened(y_NC)
    return max(0.0, _of(u, v) - _of(u, v[order]))


def _whitened(x_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal basis (N, K) of the first principal components, without constant directions."""
    u, s, _ = np.linalg.svd(x_NC - x_NC.mean(0), full_matrices=False)
    return u[:, :COMPONENTS][:, s[:COMPONENTS] > 1e-9 * max(s[0], 1e-300)]


def _of(u: NDArray[np.float64], v: NDArray[np.float64]) -> float:
    correlations = np.clip(np.linalg.svd(u.T @ v, compute_uv=False), 0.0, 1 - 1e-9)
    return float(-0.5 * np.log1p(-(correlations**2)).sum())
