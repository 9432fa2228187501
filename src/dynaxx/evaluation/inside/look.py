"""Measurements on the trained loop, and their pictures: residuals, gates, ablations, information, attributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.data import LabelledImages, Normalisation, normalise
from dynaxx.evaluation.inside.ablation import Ablation, ablations
from dynaxx.evaluation.inside.attribution import Attribution, attributions
from dynaxx.evaluation.inside.gallery import Disagreement, disagreements
from dynaxx.evaluation.inside.gates import GateOpening, gate_openings
from dynaxx.evaluation.inside.information import Information, information
from dynaxx.evaluation.inside.iterations import Iterations, iterations
from dynaxx.evaluation.inside.maps import attribution_maps, feature_maps
from dynaxx.evaluation.inside.pictures import photograph
from dynaxx.evaluation.inside.residuals import ResidualCurve, residual_curves, settled_shares
from dynaxx.evaluation.statistics import Bootstrap
from dynaxx.fixed_point import STEPS

MEASURED_IMAGES = 1000
"""Number of randomly drawn test images for residuals, gates and mutual information."""
PICTURED_IMAGES = 6
"""Number of test images in the pictures of feature maps and attributions."""

FEATURE_MAPS, ATTRIBUTIONS = "feature_maps", "attributions"


@dataclass(frozen=True)
class Inside:
    """Measurements inside the trained loop; a list is empty if not applicable or not requested."""

    residuals: list[ResidualCurve] = field(default_factory=list)
    iterations: list[Iterations] = field(default_factory=list)
    gates: list[GateOpening] = field(default_factory=list)
    ablations: list[Ablation] = field(default_factory=list)
    information: list[Information] = field(default_factory=list)
    attributions: list[Attribution] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    taps: list[str] = field(default_factory=list)
    """Names of the tapped layers in the picture of feature maps, in column order."""


@dataclass(frozen=True)
class LookOptions:
    """Options of `look_inside`: which measurements it makes, and on how many images."""

    residual_iterations: int
    """Number of loop iterations over which residuals are recorded."""
    T: Sequence[int]
    """Further numbers of loop iterations with which the test accuracy of `explicit` is measured."""
    settled_at: float
    """Relative residual at or below which an image counts as converged."""
    attributed_images: int
    """Number of test images whose predictions are attributed to pixels; 0 skips this part."""
    gallery: int
    """Gallery images that only `explicit` gets right, and as many for the baseline; 0 skips the gallery."""


def look_inside(
    loops: Sequence[nn.Module],
    baseline: nn.Module | None,
    test: LabelledImages,
    predictions: Mapping[str, Tensor],
    normalisation: Normalisation,
    options: LookOptions,
    bootstrap: Bootstrap,
) -> tuple[Inside, dict[str, Tensor]]:
    """Measure residuals, gates, ablations, mutual information and attributions of the trained loops.

    >>> inside, pictures = look_inside(loops, baseline, test, predictions, normalisation, options, bootstrap)
    >>> inside.taps
    ['layer1', 'layer2', 'layer3']

    Args:
        loops: trained models of the arm `explicit`, one per seed.
        baseline: baseline model of the first seed; its attributions are computed for comparison.
        predictions: name of the arm → predicted classes (S, N) of N test images with S seeds.

    Returns:
        (inside, pictures): pictures map a name to a uint8 array (H, W, 3).
    """
    resonant = [loop for loop in loops if isinstance(loop, ResonantModel)]
    if not resonant:
        return Inside(), {}
    first, labels = resonant[0], test.labels.numpy()
    device = next(first.parameters()).device
    images = normalise(test.images, normalisation)
    drawn = torch.randperm(len(test), generator=torch.Generator().manual_seed(bootstrap["seed"]))  # they come by class
    some = drawn[:MEASURED_IMAGES]
    solvers = STEPS if not first.require_built().causal else ["picard"]
    settled = {solver: settled_shares(first, images, max(options.T), options.settled_at, solver) for solver in solvers}
    pictures: dict[str, Tensor] = {}
    shown = drawn[:PICTURED_IMAGES]
    maps = feature_maps(first, images[shown], test.images[shown])
    if maps is not None:
        pictures[FEATURE_MAPS] = maps
    attributed: list[Attribution] = []
    if options.attributed_images:
        models = ({} if baseline is None else {"baseline": baseline}) | {"explicit": first}
        attributed, where = attributions(models, images[drawn[: options.attributed_images]], bootstrap)
        pictures[ATTRIBUTIONS] = attribution_maps(
            {name: of[:PICTURED_IMAGES] for name, of in where.items()},
            test.images[drawn[: options.attributed_images][:PICTURED_IMAGES]],
        )
    gallery: list[Disagreement] = []
    if options.gallery and "baseline" in predictions:
        explicit, before = predictions["explicit"].numpy(), predictions["baseline"].numpy()
        gallery = disagreements(explicit, before, labels, test.classes, options.gallery)
        pictures |= {gallery_name(shown): photograph(test.images[shown.image]) for shown in gallery}
    exchange = first.require_built().exchange
    return Inside(
        residuals=residual_curves(first, images[some].to(device), options.residual_iterations),
        iterations=iterations(resonant, images, labels, options.T, settled, bootstrap),
        gates=gate_openings(first, images[some].to(device), test.labels[some], test.classes),
        ablations=ablations(resonant, images, labels, bootstrap),
        information=information(first, images[some]),
        attributions=attributed,
        disagreements=gallery,
        taps=[exchange.names[tap] for tap in exchange.targets] if maps is not None else [],
    ), pictures


def gallery_name(disagreement: Disagreement) -> str:
    """Name of the picture of one test image in the gallery: `image_7` for test image 7."""
    return f"image_{disagreement.image}"
