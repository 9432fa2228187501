"""Before anyone trains: is resonance likely to help this backbone on this task?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dynaxx import ResonanceConfig
from dynaxx.data import LabelledImages, Normalisation
from dynaxx.selection.evidence import Evidence, gather
from dynaxx.selection.expected_gain import Expectation, Pair, expect, read_pairs
from dynaxx.selection.overhead import overhead

NEWS = 0.9
"""Redundancy below which a layer counts as diverse."""
FINE = 0.1
"""Share of the label's information that the last layer leaves, above which a task counts as finer than its features."""


@dataclass(frozen=True)
class Advice:
    """What to do, and why.

    Attributes:
        verdict: "yes", "no" or "unclear".
        reason: of the verdict, one sentence with its numbers.
        expected: gain of explicit over a probe on the last layer, points of accuracy.
        as_good: the cheaper arms, by their names in the A/B, that explicit is expected to beat by less than an
            adoption asks for, if at all.
        unknown: those that explicit may beat by more, or not: what it is expected to gain over each.
        checklist: question → answer; those that only the user can answer say so.
        evidence: what was measured.
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
    most: int = 500,
    latency_budget: float = 0.2,
    minimum_relative_gain: float = 0.02,
    seed: int = 0,
) -> Advice:
    """Say whether to try resonance on `backbone`; trains nothing but linear probes.

    Args:
        backbone: trained, in eval mode.
        images: labelled, of the task, a few hundred; the backbone must not have been trained on them.
        normalisation: the one that the backbone was trained with.
        layers: see `gather`.
        most: images that are looked at.
        latency_budget: what explicit may add to the backbone's cost, as a share.
        minimum_relative_gain: of accuracy, below which an arm is not adopted (DESIGN §6).

    Raises:
        ResonanceError: see `gather`.
    """
    evidence = gather(backbone, images, normalisation, layers=layers, most=most, seed=seed)
    example = torch.zeros(1, *images.images.shape[1:])
    count = len(evidence.taps)
    three = sorted({0, count // 2, count - 1})
    rank = min(ResonanceConfig.rank, sum(evidence.channels[tap] for tap in three))  # narrow layers have no larger one
    cost = overhead(backbone, [evidence.taps[tap] for tap in three], example, {"rank": rank})
    return judge(evidence, read_pairs(), cost, latency_budget, minimum_relative_gain)


def judge(
    evidence: Evidence, pairs: list[Pair], cost: float, latency_budget: float, minimum_relative_gain: float
) -> Advice:
    """From evidence and pairs to advice.

    Args:
        cost: FLOPs that explicit adds, as a share of the backbone's.
    """
    expected = expect(evidence, "baseline", pairs)
    interval = f"[{expected.low:+.1f}, {expected.high:+.1f}]"
    told = f"expected gain with about 2,000 labels {expected.estimate:+.1f} points {interval}"
    left = f"the last layer leaves {evidence.information_left:.2f} of {evidence.entropy:.2f} bits about the label"
    asked = 100 * minimum_relative_gain * evidence.last_accuracy
    if expected.estimate < asked:
        verdict, reason = "no", f"{told}: {left}"
    elif expected.low > 0:
        verdict, reason = "yes", f"{told}: {left}"
    else:
        verdict, reason = "unclear", f"{told}, which includes nothing: {left}; label more images and ask again"
    rivals = {rival: expect(evidence, rival, pairs) for rival in ("direct", "concat_probe") if verdict != "no"}
    as_good = [rival for rival, over in rivals.items() if over.high < asked]
    unknown = {rival: over for rival, over in rivals.items() if over.low <= 0 and over.high >= asked}
    return Advice(verdict, reason, expected, as_good, unknown, _checklist(evidence, cost, latency_budget), evidence)


def _checklist(evidence: Evidence, cost: float, budget: float) -> dict[str, str]:
    fine = evidence.share_left >= FINE
    diverse = len(evidence.taps) >= 3 and evidence.redundancy < NEWS
    return {
        "finer than what the last layer separates?": f"{_yes(fine)}: {100 * evidence.share_left:.0f} % of the "
        "label's information is not in it",
        "within the latency budget?": f"{_yes(cost <= budget)}: about {100 * cost:.0f} % more FLOPs, "
        f"{100 * budget:.0f} % allowed; the A/B measures the latency",
        "three diverse layers?": f"{_yes(diverse)}: {len(evidence.taps)} can be coupled, the most diverse shares "
        f"{evidence.redundancy:.2f} (CKA) with the last",
        "can you monitor it?": "for you to answer: watch `model.fallback` and the residual in production",
        "must you explain it?": "for you to answer: `model.posthoc(x)` keeps the backbone's own answer beside the "
        "refined one",
    }


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"
