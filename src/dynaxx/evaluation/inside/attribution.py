"""Pixel attributions by Integrated Gradients, with faithfulness measured by deletion and insertion.

Shape legend: N images, C channels, H and W their size.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dynaxx.data import batch_size
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.statistics import Bootstrap, Interval, mean_interval

INTEGRATION_POINTS = 50
"""Number of Gauss-Legendre points for the integral of Integrated Gradients."""
MASKING_STEPS = 10
"""Number of steps in which pixels are deleted or inserted."""


@dataclass(frozen=True)
class Attribution:
    """Faithfulness of the Integrated Gradients attributions of one model's predictions."""

    arm: str
    images: int
    completeness_gap: float | None
    """Median of |Σ attributions - c| / |c|, c: change of the logit from the mean image; None if c is always 0."""
    deletion: float
    """Mean probability of the predicted class while the most relevant pixels are set to the mean; less is better."""
    insertion: float
    """Mean probability of the predicted class while relevant pixels are added to the mean image; more is better."""
    random_deletion: float
    """Deletion score with pixels in random order; a faithful attribution has a lower deletion score."""
    gain: Interval
    """Insertion score minus deletion score, mean over images, with a bootstrap interval."""


def attributions(
    models: Mapping[str, nn.Module], images: Tensor, bootstrap: Bootstrap, seed: int = 0
) -> tuple[list[Attribution], dict[str, Tensor]]:
    """Attribute the predictions of every model to the pixels.

    >>> results, maps = attributions({"explicit": model}, images, bootstrap)  # images: (4, 3, 32, 32)
    >>> maps["explicit"].shape
    torch.Size([4, 32, 32])

    captum computes the Integrated Gradients (Sundararajan et al., ICML 2017). The reference is the mean image, which
    is zero after normalisation. Deletion and insertion follow Petsiuk et al., BMVC 2018.

    Args:
        models: name → model in eval mode.
        images: normalised test images, (N, C, H, W).

    Returns:
        (one `Attribution` per model, maps): maps are (N, H, W) per model, summed over channels, on the CPU.
    """
    results, maps = [], {}
    for name, model in models.items():
        named_NHW, gap_N = integrated_gradients(model, images)
        maps[name] = named_NHW
        shuffled = torch.rand(named_NHW.shape, generator=torch.Generator().manual_seed(seed))
        deletion, insertion = _curve(model, images, named_NHW, put=False), _curve(model, images, named_NHW, put=True)
        settings = {"resamples": bootstrap["resamples"], "confidence": bootstrap["confidence"], "seed": seed}
        results.append(
            Attribution(
                name,
                len(images),
                float(gap_N[gap_N.isfinite()].median()) if gap_N.isfinite().any() else None,
                float(deletion.mean()),
                float(insertion.mean()),
                float(_curve(model, images, shuffled, put=False).mean()),
                mean_interval((insertion - deletion).numpy().astype(np.float64), **settings),  # type: ignore[arg-type]
            )
        )
    return results, maps


def integrated_gradients(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Attributions (N, H, W) of the model's predictions, and the relative completeness gap (N,).

    >>> [tensor.shape for tensor in integrated_gradients(model, torch.randn(4, 3, 32, 32))]
    [torch.Size([4, 32, 32]), torch.Size([4])]

    The gap is infinite or NaN for an image whose logit equals that of the mean image.
    """
    from captum.attr import IntegratedGradients

    device = next(model.parameters()).device
    predicted = logits(model, images).argmax(1)
    explainer = IntegratedGradients(model)
    named, gaps = [], []
    for batch, target in zip(images.split(16), predicted.split(16), strict=True):
        x, target = batch.to(device), target.to(device)
        attributed, delta = explainer.attribute(
            x,
            torch.zeros_like(x),
            target,
            n_steps=INTEGRATION_POINTS,
            internal_batch_size=max(16, batch_size(images)),
            return_convergence_delta=True,
        )
        with torch.no_grad():
            ends = model(x), model(torch.zeros_like(x))
        change = (ends[0] - ends[1]).gather(1, target[:, None])[:, 0]
        named.append(attributed.detach().sum(1).float().cpu())
        gaps.append((delta.detach() / change).abs().float().cpu())
    return torch.cat(named), torch.cat(gaps)


@torch.no_grad()
def _curve(model: nn.Module, images: Tensor, score_NHW: Tensor, *, put: bool) -> Tensor:
    """Mean probability (N,) of the predicted class while pixels are deleted, or inserted with `put`."""
    predicted = logits(model, images).argmax(1)
    rank_NHW = score_NHW.flatten(1).argsort(1, descending=True).argsort(1).view_as(score_NHW)
    total = score_NHW[0].numel()
    probabilities = []
    for part in range(MASKING_STEPS + 1):
        first = (rank_NHW < round(total * part / MASKING_STEPS))[:, None]
        shown = torch.where(first if put else ~first, images, 0.0)
        probabilities.append(logits(model, shown).softmax(1).gather(1, predicted[:, None])[:, 0])
    return torch.trapezoid(torch.stack(probabilities), dx=1 / MASKING_STEPS, dim=0)
