"""Measurements on the trained loop, and their pictures: residuals, gates, ablations, information, attributions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dynaxx import ResonantModel
from dynaxx.data import normalise
from dynaxx.evaluation.arms import BASELINE, EXPLICIT
from dynaxx.evaluation.inside.ablation import Ablation, ablations
from dynaxx.evaluation.inside.attribution import Attribution, attributions
from dynaxx.evaluation.inside.gates import GateOpening, gate_openings
from dynaxx.evaluation.inside.information import Information, information
from dynaxx.evaluation.inside.iterations import Iterations, iterations
from dynaxx.evaluation.inside.maps import attribution_maps, feature_maps
from dynaxx.evaluation.inside.residuals import ResidualCurve, residual_curves, settled_shares
from dynaxx.evaluation.judge import Judge
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
    taps: list[str] = field(default_factory=list)
    """Names of the tapped layers in the picture of feature maps, in column order."""


@dataclass(frozen=True)
class LookOptions:
    """Options of `look_inside`: which measurements it makes, and on how many images."""

    residual_iterations: int
    """Number of loop iterations over which residuals are recorded."""
    T: Sequence[int]
    """Further numbers of loop iterations with which the metric of `explicit` is measured."""
    settled_at: float
    """Relative residual at or below which an image counts as converged."""
    attributed_images: int
    """Number of test images whose predictions are attributed to pixels, where these are classes; 0 skips this part."""


def look_inside(
    loops: Sequence[nn.Module], probe: nn.Module | None, judge: Judge, options: LookOptions
) -> tuple[Inside, dict[str, Tensor]]:
    """Measure residuals, gates, ablations, mutual information and attributions of the trained loops.

    >>> inside, pictures = look_inside(loops, probe, judge, options)
    >>> inside.taps
    ['layer1', 'layer2', 'layer3']

    Args:
        loops: trained models of the arm `explicit`, one per seed.
        probe: model of the probe with the first seed; its attributions are computed for comparison.
        judge: judge of the test samples.
        options: which measurements to make, and on how many images.

    Returns:
        (inside, pictures): pictures map a name to a uint8 array (H, W, 3).
    """
    resonant = [loop for loop in loops if isinstance(loop, ResonantModel)]
    if not resonant:
        return Inside(), {}
    first, test, bootstrap = resonant[0], judge.data, judge.bootstrap
    drawn = torch.randperm(len(test), generator=torch.Generator().manual_seed(bootstrap["seed"]))  # they come by class
    some, few = (judge.subset(drawn[:count]) for count in (MEASURED_IMAGES, PICTURED_IMAGES))
    anchors = some.samples.anchors
    solvers = STEPS if not first.require_built().causal else ["picard"]
    settled = {solver: settled_shares(first, anchors, max(options.T), options.settled_at, solver) for solver in solvers}
    pictures: dict[str, Tensor] = {}
    maps = feature_maps(first, few.samples.anchors, few.data.images)
    if maps is not None:
        pictures[FEATURE_MAPS] = maps
    attributed: list[Attribution] = []
    strata = judge.kind.strata(some.data.labels)
    if options.attributed_images and judge.kind.answers(judge.subset(drawn[:1]).outputs(first)) is not None:
        models = ({} if probe is None else {BASELINE: probe}) | {EXPLICIT: first}
        images = normalise(some.data.images[: options.attributed_images], judge.normalisation)
        attributed, where = attributions(models, images, bootstrap)
        shown = min(PICTURED_IMAGES, options.attributed_images)
        originals = some.data.images[:shown]
        pictures[ATTRIBUTIONS] = attribution_maps({name: of[:shown] for name, of in where.items()}, originals)
    exchange = first.require_built().exchange
    return Inside(
        residuals=residual_curves(first, anchors, options.residual_iterations),
        iterations=iterations(resonant, judge, options.T, settled),
        gates=gate_openings(first, anchors, strata, test.classes),
        ablations=ablations(resonant, judge),
        information=information(first, anchors),
        attributions=attributed,
        taps=[exchange.names[tap] for tap in exchange.targets] if maps is not None else [],
    ), pictures
