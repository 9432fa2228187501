"""Advice before training: three questions about a network and a task.

1. Is there more in the network than its last layer says? From what a linear reading of all layers gains.
2. Which reading is likely to get it? One layer, if the best one gains as much as all; else several.
3. Does information have to travel? From how far a source, such as a click, is from the end of its label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dynaxx import ResonanceConfig
from dynaxx.data import LabelledImages, Normalisation
from dynaxx.selection.evidence import Evidence, gather
from dynaxx.selection.expected_gain import Expectation, MeasuredPair, expect, read_pairs
from dynaxx.selection.overhead import overhead
from dynaxx.tasks import Kind

DIVERSE_BELOW = 0.9
"""Redundancy (CKA with the last layer) below which a layer counts as diverse."""
FINE_ABOVE = 0.1
"""Value of `Evidence.share_left` from which a task counts as finer than the last layer's features."""


@dataclass(frozen=True)
class Advice:
    """A recommendation for or against reading other layers, and for or against iterating, with reasons.

    >>> advise(backbone, images, normalisation).expected
    Expectation(estimate=1.2, low=-0.9, high=3.3)

    Attributes:
        verdict: "yes", "no" or "unclear".
        reason: one sentence with the numbers behind the verdict.
        expected: expected gain over a linear reading of the last layer, in points, or in per cent of an error.
        reading: the readings to begin with, and why.
        travel: whether information has to travel, how far, and what follows.
        iterate: whether it has to travel farther than one pass of a few layers reaches.
        as_good: cheaper arms (competitors in the A/B comparison) over which the expected gain is too small to adopt.
        unknown: cheaper arms over which the expected gain is uncertain, with the expected gain over each.
        checklist: question → answer; the answer says so if only the user can answer.
        evidence: measurements behind the advice.
    """

    verdict: str
    reason: str
    expected: Expectation
    reading: str
    travel: str
    iterate: bool
    as_good: list[str]
    unknown: dict[str, Expectation]
    checklist: dict[str, str]
    evidence: Evidence


def advise(
    backbone: nn.Module,
    images: LabelledImages,
    normalisation: Normalisation,
    *,
    kind: Kind | None = None,
    layers: str | Sequence[int | str] = "auto",
    grid: tuple[int, int] | None = None,
    max_images: int = 500,
    latency_budget: float = 0.2,
    minimum_relative_gain: float = 0.02,
    seed: int = 0,
) -> Advice:
    """Advise whether to read other layers of `backbone`, and whether to iterate. Nothing but linear probes is trained.

    >>> advise(backbone, images, Normalisation(mean=(0.5,), std=(0.25,))).verdict
    'unclear'

    Args:
        backbone: trained network in eval mode.
        images: a few hundred labelled images of the task, on which the backbone was not trained.
        normalisation: normalisation with which the backbone was trained.
        kind: kind of the task; None: what the labels say.
        layers: layers that resonance may couple, in the forms that `gather` accepts.
        grid: height and width of the grid of messages, for masks; None: an eighth of the image's.
        max_images: largest number of images that are evaluated.
        latency_budget: allowed extra cost of resonance, as a share of the backbone's cost.
        minimum_relative_gain: relative gain below which nothing is adopted.

    Raises:
        ResonanceError: see `gather`.
    """
    evidence = gather(
        backbone, images, normalisation, kind=kind, layers=layers, max_images=max_images, seed=seed, grid=grid
    )
    example = torch.zeros(1, *images.images.shape[1:])
    count = len(evidence.taps)
    three = sorted({0, count // 2, count - 1})
    rank = min(ResonanceConfig.rank, sum(evidence.channels[tap] for tap in three))  # narrow layers have no larger one
    cost = overhead(backbone, [evidence.taps[tap] for tap in three], example, {"rank": rank})
    return judge(evidence, read_pairs(), cost, latency_budget, minimum_relative_gain)


def judge(
    evidence: Evidence, pairs: list[MeasuredPair], cost: float, latency_budget: float, minimum_relative_gain: float
) -> Advice:
    """Derive advice from the evidence about a backbone and from gains measured on other tasks and backbones.

    >>> judge(evidence, read_pairs(), cost=0.1, latency_budget=0.2, minimum_relative_gain=0.02).verdict
    'yes'

    Args:
        cost: additional FLOPs of resonance, as a share of the backbone's FLOPs.
    """
    expected = expect(evidence, "baseline", pairs)
    unit = "points" if evidence.metric.higher_is_better else "% of the error"
    gain_text = f"expected gain {expected.estimate:+.1f} {unit} [{expected.low:+.1f}, {expected.high:+.1f}]"
    found = (
        f"on {evidence.images} images a linear reading of all layers gains {100 * evidence.probe_gain:+.1f} ± "
        f"{100 * evidence.standard_error:.1f} {unit} over the last one"
    )
    required = 100 * minimum_relative_gain * (evidence.last_value if evidence.metric.higher_is_better else 1.0)
    iterate = evidence.travel is not None and evidence.travel.far
    if iterate:
        verdict, reason = "yes", "what is given in one place has to get to others, which no linear reading shows"
    elif expected.estimate < required:
        verdict, reason = "no", f"{gain_text}: {found}"
    elif expected.low > 0:
        verdict, reason = "yes", f"{gain_text}: {found}"
    else:
        verdict, reason = "unclear", f"{gain_text}, which includes zero: {found}; label more images and repeat"
    rivals = {rival: expect(evidence, rival, pairs) for rival in ("direct", "concat_probe") if verdict != "no"}
    if iterate or not evidence.metric.higher_is_better or evidence.metric.name != "accuracy":
        rivals = {}  # how much less they gain was measured on classes alone
    as_good = [rival for rival, over in rivals.items() if over.high < required]
    unknown = {rival: over for rival, over in rivals.items() if over.low <= 0 and over.high >= required}
    checklist = _checklist(evidence, cost, latency_budget)
    return Advice(
        verdict,
        reason,
        expected,
        _reading(evidence, verdict, iterate),
        _travel(evidence),
        iterate,
        as_good,
        unknown,
        checklist,
        evidence,
    )


def _reading(evidence: Evidence, verdict: str, iterate: bool) -> str:
    if iterate:
        return "explicit, beside conv_dilated as the best single pass"
    if verdict == "no":
        return "probe: keep the last layer alone"
    if evidence.one_layer:
        return (
            f"layer_probe: the best single layer gains {100 * evidence.single_gain:+.1f}, as much as all; beside direct"
        )
    return f"concat_probe and direct: the best single layer gains {100 * evidence.single_gain:+.1f} alone"


def _travel(evidence: Evidence) -> str:
    gone = evidence.travel
    if gone is None:
        return "no: nothing is given in one place that has to be known in another; do not iterate"
    told = f"{gone.median:.0f} steps of the grid in the median image, {gone.most:.0f} in nine of ten"
    if gone.far:
        return f"yes: {told}; iterate, with T of at least {gone.most:.0f} and resonance.gate=position"
    return f"hardly: {told}; one pass of a few layers reaches that"


def _checklist(evidence: Evidence, cost: float, budget: float) -> dict[str, str]:
    fine = evidence.share_left >= FINE_ABOVE
    diverse = len(evidence.taps) >= 3 and evidence.redundancy < DIVERSE_BELOW
    return {
        "finer than what the last layer separates?": f"{_yes(fine)}: {100 * evidence.share_left:.0f} % of the "
        f"{'label' if evidence.metric.name == 'accuracy' else 'variance of the label'} is not in it",
        "within the latency budget?": f"{_yes(cost <= budget)}: about {100 * cost:.0f} % more FLOPs, "
        f"{100 * budget:.0f} % allowed; the A/B measures the latency",
        "three diverse layers?": f"{_yes(diverse)}: {len(evidence.taps)} can be coupled, the most diverse shares "
        f"{evidence.redundancy:.2f} (CKA) with the last",
        "can you monitor it?": "for you to answer: watch `model.fallback` and the residual in production",
        "must you explain it?": "for you to answer: `model.posthoc(x)` keeps the backbone's own prediction beside the "
        "refined one",
    }


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
