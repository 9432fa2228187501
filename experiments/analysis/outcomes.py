"""Who wins: explicit against the best single pass of each regime, and what is left of it over all tasks at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from dynaxx.evaluation.arms import named
from dynaxx.evaluation.statistics import holm, verdict_over_tasks
from experiments.analysis.findings import EXPLICIT, Difference, Finding

ONE_PASS = named("direct", "explicit_T1", "concat_mlp", "concat_probe", "lora")
"""Single passes on a frozen backbone (`Arm.replaces_resonance`), in the order in which tables name missing ones.

LoRA is one of them: merged into the weights it costs nothing more.
"""
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
        return verdict_over_tasks(self.best.interval, self.finding.scores[self.best.rival], self.p)


def tasks(found: Sequence[Finding]) -> list[Outcome]:
    """Of the regimes in which arms were trained, p adjusted by Holm over all of them."""
    raw = [_outcome(finding) for finding in found if _asked(finding) and _trained(finding.regime)]
    known = [outcome.p for outcome in raw if outcome.p is not None]
    adjusted = iter(holm(known))
    return [Outcome(o.finding, o.best, None if o.p is None else next(adjusted), o.missing) for o in raw]


def variants(found: Sequence[Finding]) -> list[Outcome]:
    """Of those that are another one's arms, on worse images or with other numbers of iterations; p as it is."""
    return [_outcome(finding) for finding in found if _asked(finding) and not _trained(finding.regime)]


def _outcome(finding: Finding) -> Outcome:
    rivals = {d.rival: d for d in finding.differences if d.rival in ONE_PASS}
    # not by their scores: some were compared with an explicit of their own, on another backbone
    best = min(rivals.values(), key=lambda d: d.interval.estimate)
    return Outcome(finding, best, best.p, [arm for arm in ONE_PASS if arm not in rivals])


def _asked(finding: Finding) -> bool:
    return EXPLICIT in finding.scores and any(d.rival in ONE_PASS for d in finding.differences)


def _trained(regime: str) -> bool:
    return ITERATIONS not in regime and regime.split("/")[-1] not in SHIFTED
