"""The outcome of each condition: explicit against the best single pass, with correction over all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

from dynaxx.evaluation.statistics.paired import holm
from experiments.analysis.findings import EXPLICIT, Difference, Finding

ONE_PASS = ("direct", "explicit_T1", "concat_mlp", "concat_probe", "lora")
"""Arms with a single pass. LoRA is one of them, because its weights can be merged into the backbone's."""
LEVEL = 0.05
"""Significance level."""
ITERATIONS = "/T-"
"""Mark in the names of conditions that evaluate trained arms with other numbers of iterations."""
SHIFTED = ("corrupted", "noise", "blur", "contrast", "jpeg")
"""Last parts of the names of conditions that evaluate trained arms on corrupted images."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one condition.

    >>> [outcome.verdict for outcome in tasks(findings)]
    ['tie', 'won']

    Attributes:
        finding: underlying finding.
        best: difference of explicit to the single pass that does best against it.
        p: p-value over seeds, with Holm correction if tasks are judged together; None with fewer than six seeds.
        missing: single passes that were not run.
    """

    finding: Finding
    best: Difference
    p: float | None
    missing: list[str]

    @property
    def verdict(self) -> str:
        return verdict(self.best, self.finding.scores[self.best.rival], self.p)


def tasks(found: Sequence[Finding]) -> list[Outcome]:
    """Outcomes of the conditions in which arms were trained, with Holm correction over all of them."""
    raw = [_outcome(finding) for finding in found if _has_single_pass(finding) and _trained(finding.condition)]
    known = [outcome.p for outcome in raw if outcome.p is not None]
    adjusted = iter(holm(known))
    return [Outcome(o.finding, o.best, None if o.p is None else next(adjusted), o.missing) for o in raw]


def variants(found: Sequence[Finding]) -> list[Outcome]:
    """Outcomes of the conditions that evaluate trained arms on other images or iterations, with uncorrected p."""
    return [_outcome(finding) for finding in found if _has_single_pass(finding) and not _trained(finding.condition)]


def verdict(difference: Difference, rival_score: float, p: float | None) -> str:
    """The verdict on the loop against one rival."""
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
    # not by their scores: some rivals were compared with another explicit, on another backbone
    best = min(rivals.values(), key=lambda d: d.interval.estimate)
    return Outcome(finding, best, best.p, [arm for arm in ONE_PASS if arm not in rivals])


def _has_single_pass(finding: Finding) -> bool:
    return EXPLICIT in finding.scores and any(d.rival in ONE_PASS for d in finding.differences)


def _trained(condition: str) -> bool:
    return ITERATIONS not in condition and condition.split("/")[-1] not in SHIFTED
