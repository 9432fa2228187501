"""The outcome of each condition: explicit against the best single pass, with correction over all tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

from dynaxx.evaluation.arms import named
from dynaxx.evaluation.statistics import holm, verdict_over_tasks
from experiments.findings import EXPLICIT, Difference, Finding

ONE_PASS = named("direct", "explicit_T1", "concat_mlp", "concat_probe", "lora")
"""Single passes on a frozen backbone, in the order in which tables name missing ones.

LoRA is one of them, because its weights can be merged into the backbone's.
"""
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
        return verdict_over_tasks(self.best.interval, self.finding.scores[self.best.rival], self.p)


def tasks(found: Sequence[Finding]) -> list[Outcome]:
    """Outcomes of the conditions in which arms were trained, with Holm correction over all of them."""
    raw = [_outcome(finding) for finding in found if _has_single_pass(finding) and _trained(finding.condition)]
    known = [outcome.p for outcome in raw if outcome.p is not None]
    adjusted = iter(holm(known))
    return [Outcome(o.finding, o.best, None if o.p is None else next(adjusted), o.missing) for o in raw]


def variants(found: Sequence[Finding]) -> list[Outcome]:
    """Outcomes of the conditions that evaluate trained arms on other images or iterations, with uncorrected p."""
    return [_outcome(finding) for finding in found if _has_single_pass(finding) and not _trained(finding.condition)]


def _outcome(finding: Finding) -> Outcome:
    rivals = {d.rival: d for d in finding.differences if d.rival in ONE_PASS}
    # not by their scores: some rivals were compared with another explicit, on another backbone
    best = min(rivals.values(), key=lambda d: d.interval.estimate)
    return Outcome(finding, best, best.p, [arm for arm in ONE_PASS if arm not in rivals])


def _has_single_pass(finding: Finding) -> bool:
    return EXPLICIT in finding.scores and any(d.rival in ONE_PASS for d in finding.differences)


def _trained(condition: str) -> bool:
    return ITERATIONS not in condition and condition.split("/")[-1] not in SHIFTED
