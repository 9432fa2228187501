"""Who wins: explicit against the best single pass of each regime, and what is left of it over all tasks at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from dynaxx.evaluation.arms import arms_where
from dynaxx.evaluation.statistics.paired import holm
from experiments.analysis.findings import EXPLICIT, Difference, Finding

ONE_PASS = tuple(sorted(arms_where(lambda arm: arm.replaces_resonance)))
"""Single passes on a frozen backbone. LoRA is one of them: merged into the weights it costs nothing more."""
LEVEL = 0.05
ITERATIONS = "/T-"
"""In the names of regimes that are another one's arms with other numbers of iterations."""
SHIFTED = ("corrupted", "noise", "blur", "contrast", "jpeg")
"""Last parts of the names of regimes that are another one's arms on worse images."""


@dataclass(frozen=True)
class Outcome:
    """Of one regime.

    Attributes:
        finding: what it rests on.
        best: explicit against the single pass that comes out best against it.
        p: over seeds; where tasks are judged together, adjusted for all of them. None with fewer than six seeds.
        missing: single passes that were not asked.
    """

    finding: Finding
    best: Difference
    p: float | None
    missing: list[str]

    @property
    def verdict(self) -> str:
        return verdict(self.best, self.finding.scores[self.best.rival], self.p)


def tasks(found: Sequence[Finding]) -> list[Outcome]:
    """Of the regimes in which arms were trained, p adjusted by Holm over all of them."""
    raw = [_outcome(finding) for finding in found if _asked(finding) and _trained(finding.regime)]
    known = [outcome.p for outcome in raw if outcome.p is not None]
    adjusted = iter(holm(known))
    return [Outcome(o.finding, o.best, None if o.p is None else next(adjusted), o.missing) for o in raw]


def variants(found: Sequence[Finding]) -> list[Outcome]:
    """Of those that are another one's arms, on worse images or with other numbers of iterations; p as it is."""
    return [_outcome(finding) for finding in found if _asked(finding) and not _trained(finding.regime)]


def verdict(difference: Difference, rival_score: float, p: float | None) -> str:
    """Of the loop against one rival."""
    interval = difference.interval
    if interval.low <= 0 <= interval.high:
        return "tie"
    side = "ahead" if interval.low > 0 else "behind"
    if p is None:
        return f"{side}, on too few seeds"
    if p >= LEVEL:
        return f"{side}, uncertain over seeds"
    if side == "behind":
        return "lost"
    large = interval.estimate >= 0.01 or interval.estimate >= 0.02 * rival_score
    return "won" if large else "ahead by less than a point"


def _outcome(finding: Finding) -> Outcome:
    rivals = {d.rival: d for d in finding.differences if d.rival in ONE_PASS}
    # not by their scores: some were compared with an explicit of their own, on another backbone
    best = min(rivals.values(), key=lambda d: d.interval.estimate)
    return Outcome(finding, best, best.p, [arm for arm in ONE_PASS if arm not in rivals])


def _asked(finding: Finding) -> bool:
    return EXPLICIT in finding.scores and any(d.rival in ONE_PASS for d in finding.differences)


def _trained(regime: str) -> bool:
    return ITERATIONS not in regime and regime.split("/")[-1] not in SHIFTED
