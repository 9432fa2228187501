"""Advice before training: is resonance likely to help this backbone on this task?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dynaxx import ResonanceConfig
from dynaxx.data import LabelledImages, Normalisation
from dynaxx.selection.evidence import Evidence, gather
from dynaxx.selection.expected_gain import Expectation, MeasuredPair, expect, read_pairs
from dynaxx.selection.overhead import overhead

DIVERSE_BELOW = 0.9
"""Redundancy (CKA with the last layer) below which a layer counts as diverse."""
FINE_ABOVE = 0.1
"""Value of `Evidence.share_left` from which a task counts as finer than the last layer's features."""


@dataclass(frozen=True)
class Advice:
    """A recommendation for or against resonance, with its reasons.

    >>> advise(backbone, images, normalisation).expected
    Expectation(estimate=1.2, low=-0.9, high=3.3)

    Attributes:
        verdict: "yes", "no" or "unclear".
        reason: one sentence with the numbers behind the verdict.
        expected: expected gain in accuracy of resonance (arm `explicit`) over a probe on the last layer, in points.
        as_good: cheaper arms (competitors in the A/B comparison) over which the expected gain is too small to adopt.
        unknown: cheaper arms over which the expected gain is uncertain, with the expected gain over each.
        checklist: question → answer; the answer says so if only the user can answer.
        evidence: measurements behind the advice.
    """

    verdict: str
    reason: str
    expected: Expectation
    as_good: list[str]
    unknown: dict[str, Expectation]
    checklist: dict[str, str]
    evidence: Evidence


def advise(
    backbone: nn.Module,
    images: LabelledImages,
    normalisation: Normalisation,
    *,
    layers: str | Sequence[int | str] = "auto",
    max_images: int = 500,
    latency_budget: float = 0.2,
    minimum_relative_gain: float = 0.02,
    seed: int = 0,
) -> Advice:
    """Advise whether to try resonance on `backbone`. The advice trains nothing but linear probes.

    >>> advise(backbone, images, Normalisation(mean=(0.5,), std=(0.25,))).verdict
    'unclear'

    Args:
        backbone: trained network in eval mode.
        images: a few hundred labelled images of the task, on which the backbone was not trained.
        normalisation: normalisation with which the backbone was trained.
        layers: layers that resonance may couple, in the forms that `gather` accepts.
        max_images: largest number of images that are evaluated.
        latency_budget: allowed extra cost of resonance, as a share of the backbone's cost.
        minimum_relative_gain: relative gain in accuracy below which resonance is not adopted.

    Raises:
        ResonanceError: see `gather`.
    """
    evidence = gather(backbone, images, normalisation, layers=layers, max_images=max_images, seed=seed)
    example = torch.zeros(1, *images.images.shape[1:])
    count = len(evidence.taps)
    three = sorted({0, count // 2, count - 1})
    rank = min(ResonanceConfig.rank, sum(evidence.channels[tap] for tap in three))  # narrow layers have no larger one
    cost = overhead(backbone, [evidence.taps[tap] for tap in three], example, {"rank": rank})
    return judge(evidence, read_pairs(), cost, latency_budget, minimum_relative_gain)


def judge(
    evidence: Evidence, pairs: list[MeasuredPair], cost: float, latency_budget: float, minimum_relative_gain: float
) -> Advice:
    """Derive advice from the evidence about a backbone and from gains measured on other backbones.

    >>> judge(evidence, read_pairs(), cost=0.1, latency_budget=0.2, minimum_relative_gain=0.02).verdict
    'yes'

    Args:
        cost: additional FLOPs of resonance, as a share of the backbone's FLOPs.
    """
    expected = expect(evidence, "baseline", pairs)
    interval = f"[{expected.low:+.1f}, {expected.high:+.1f}]"
    gain_text = f"expected gain with about 2,000 labels {expected.estimate:+.1f} points {interval}"
    left = f"the last layer leaves {evidence.information_left:.2f} of {evidence.entropy:.2f} bits about the label"
    required = 100 * minimum_relative_gain * evidence.last_accuracy
    if expected.estimate < required:
        verdict, reason = "no", f"{gain_text}: {left}"
    elif expected.low > 0:
        verdict, reason = "yes", f"{gain_text}: {left}"
    else:
        verdict, reason = "unclear", f"{gain_text}, which includes zero: {left}; label more images and repeat"
    rivals = {rival: expect(evidence, rival, pairs) for rival in ("direct", "concat_probe") if verdict != "no"}
    as_good = [rival for rival, over in rivals.items() if over.high < required]
    unknown = {rival: over for rival, over in rivals.items() if over.low <= 0 and over.high >= required}
    return Advice(verdict, reason, expected, as_good, unknown, _checklist(evidence, cost, latency_budget), evidence)


def _checklist(evidence: Evidence, cost: float, budget: float) -> dict[str, str]:
    fine = evidence.share_left >= FINE_ABOVE
    diverse = len(evidence.taps) >= 3 and evidence.redundancy < DIVERSE_BELOW
    return {
        "finer than what the last layer separates?": f"{_yes(fine)}: {100 * evidence.share_left:.0f} % of the "
        "label's information is not in it",
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
