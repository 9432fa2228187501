"""Convergence of the trained loop on test images, measured by the residual at each tapped layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dynaxx import ResonantModel
from dynaxx.evaluation.predict import AnchorSource


@dataclass(frozen=True)
class ResidualCurve:
    """Relative residual of one tapped layer per loop iteration: median and 90th percentile over images."""

    tap: str
    iterations: list[int]
    median: list[float]
    p90: list[float]


@torch.no_grad()
def traced(model: ResonantModel, anchors: AnchorSource, iterations: int) -> tuple[Tensor, tuple[str, ...]]:
    """Relative residuals of shape (iterations, tapped layers, images), and the tapped layers."""
    residuals = []
    taps: tuple[str, ...] = ()
    with model.override(T=iterations), model.tracing(), model.observed() as outputs:
        for batch in anchors(model):
            model.refine(batch)
            trace = outputs.pop().trace
            assert trace is not None
            residuals.append(trace.residual.cpu())
            taps = trace.taps
    return torch.cat(residuals, dim=2), taps


def settled_shares(
    model: ResonantModel, anchors: AnchorSource, iterations: int, tolerance: float, solver: str
) -> list[float]:
    """Share of images with all residuals within `tolerance` after 1 … `iterations` iterations of `solver`."""
    with model.override(solver=solver):
        residual, _ = traced(model, anchors, iterations)
    return [float(share) for share in (residual <= tolerance).all(1).double().mean(1)]


def residual_curves(model: ResonantModel, anchors: AnchorSource, iterations: int) -> list[ResidualCurve]:
    """Each tapped layer's relative residual after 1 … `iterations` iterations: median and 90th percentile.

    >>> residual_curves(model, live(images), iterations=3)[0].iterations
    [1, 2, 3]

    The curves of a diverging loop end at the first overflow.

    Args:
        model: trained model of the arm `explicit`.
        anchors: function that gives the anchors of the test images.
    """
    joined, taps = traced(model, anchors, iterations)
    finite = int(torch.isfinite(joined).flatten(1).all(1).long().cumprod(0).sum())
    joined = joined[:finite]
    median, p90 = joined.median(2).values, joined.quantile(0.9, dim=2)
    steps = list(range(1, finite + 1))
    return [
        ResidualCurve(tap, steps, median[:, number].tolist(), p90[:, number].tolist())
        for number, tap in enumerate(taps)
    ]
