"""Is resonance worth adopting? The rules weigh the gain in test accuracy, the added latency, and cheaper rivals.

An arm is a competitor of the comparison. Two arms are resonant: `explicit` couples layers of the backbone in a loop,
and `implicit` is `explicit` distilled into one forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dynaxx.evaluation.arms.registry import ARMS, BASELINE, EXPLICIT, IMPLICIT, arms_where
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.formatting import percent, points
from dynaxx.evaluation.results import ArmResult, Comparison, Decision, Verdict

RESONANT: dict[str, Verdict] = {EXPLICIT: "adopt_explicit", IMPLICIT: "adopt_implicit"}
"""Resonant arm → the verdict that recommends it, in the order in which the rules consider the arms."""
RIVALS = arms_where(lambda arm: arm.replaces_resonance)
"""Arms that predict in one pass, without loop and without distillation, the simplest first."""
UNFROZEN = arms_where(lambda arm: not arm.frozen)
"""Arms that change the weights of the backbone; the report shows them, and no decision recommends them."""
NEGLIGIBLE_RELATIVE_GAIN = 0.01
"""An arm over the latency budget is rejected if its relative gain in accuracy is below this fraction."""


def decide(
    arms: Sequence[ArmResult],
    comparisons: Sequence[Comparison],
    *,
    latency_budget: float = 0.20,
    minimum_relative_gain: float = 0.02,
) -> Decision:
    """The recommended arm and the reasons; `latency_budget` is a fraction of the latency of the bare backbone.

    `baseline` is the frozen backbone with a linear probe or its own head. An arm qualifies under three conditions:

    - Its gain in test accuracy over `baseline` is proven (see `statistics/proof.py`).
    - The gain is at least `minimum_relative_gain` times the test accuracy of `baseline`.
    - Its latency, divided by the latency of the bare backbone, is at most `1 + latency_budget`.

    The rules apply in this order:

    1. `explicit` is considered first, and `implicit` only if latency alone excludes `explicit`.
    2. A single-pass rival replaces a resonant arm if the rival (1) has a proven gain over `baseline`, (2) is within
       the latency budget, (3) has a latency ratio of at most the 75th percentile of the resonant arm's ratios, and
       (4) is not proven less accurate than the resonant arm.
    3. If no resonant arm qualifies, the most accurate single-pass rival that qualifies is recommended.
    4. Full fine-tuning is never recommended, because it changes the weights of the backbone.

    Example: `decide(arms, comparisons).verdict` is one of `adopt_explicit`, `adopt_implicit`, `adopt_cheaper` and
    `do_not_adopt`.

    Raises:
        EvaluationError: `baseline` is missing, both resonant arms are missing, or a resonant arm was not compared
            with `baseline`.
    """
    rules = _Rules(
        {arm.name: arm for arm in arms},
        {(comparison.a, comparison.b): comparison for comparison in comparisons},
        1 + latency_budget,
        minimum_relative_gain,
    )
    rules.check()
    reasons: list[str] = []
    fewer_taps = False
    for name, verdict in RESONANT.items():
        if name not in rules.arms:
            reasons.append(f"{name} was not evaluated.")
            continue
        gains, sentence = rules.gain(name)
        reasons.append(sentence)
        if not gains:
            break
        weighed = {rival: rules.replaces(rival, name) for rival in RIVALS if rules.concerns(rival)}
        reasons += [sentence for _, sentence in weighed.values()] + rules.unfrozen(name)
        for rival, (replaces, _) in weighed.items():
            if replaces:
                return Decision("adopt_cheaper", rival, reasons)
        affordable, sentence = rules.latency(name)
        reasons.append(sentence)
        if affordable:
            return Decision(verdict, name, reasons)
        fewer_taps = True
    if fewer_taps:
        reasons.append("Coupling fewer taps would cost less: try that next.")
    for rival in sorted(filter(rules.compared_with_baseline, RIVALS), key=rules.gained, reverse=True):
        (gains, gain), (affordable, latency) = rules.gain(rival), rules.latency(rival)
        if gains and affordable:
            return Decision("adopt_cheaper", rival, [*reasons, gain, latency])
    return Decision("do_not_adopt", None, reasons)


@dataclass(frozen=True)
class _Rules:
    """Rules of the decision; most return whether the rule holds, and a sentence with the reason."""

    arms: dict[str, ArmResult]
    comparisons: dict[tuple[str, str], Comparison]
    budget: float
    minimum_relative_gain: float

    def check(self) -> None:
        present = [name for name in RESONANT if name in self.arms]
        if BASELINE not in self.arms or not present:
            raise EvaluationError(
                f"decide: arms are {sorted(self.arms)}; it needs {BASELINE!r} and one of {list(RESONANT)}"
            )
        for name in present:
            if not self.compared_with_baseline(name):
                raise EvaluationError(f"decide: comparisons lack {name!r} against {BASELINE!r}")

    def compared_with_baseline(self, name: str) -> bool:
        return name in self.arms and (name, BASELINE) in self.comparisons

    def gained(self, name: str) -> float:
        return self.comparisons[name, BASELINE].difference.estimate

    def concerns(self, rival: str) -> bool:
        return rival in self.arms or ARMS[rival].expected

    def unfrozen(self, name: str) -> list[str]:
        """Sentences that compare arm `name` with the arms that change the weights of the backbone."""
        sentences = []
        for rival in UNFROZEN:
            comparison = self.comparisons.get((name, rival))
            if comparison is not None:
                verb = (
                    "is better" if comparison.worse else "does not do as well" if comparison.better else "does as well"
                )
                sentences.append(f"{_difference(comparison)}; {rival} {verb}, but gives up the frozen backbone.")
        return sentences

    def gain(self, name: str) -> tuple[bool, str]:
        comparison = self.comparisons[name, BASELINE]
        numbers = _difference(comparison)
        if not comparison.difference.low > 0:
            return False, f"{numbers}; no gain is proven."
        if comparison.contradicted:
            return False, f"{numbers}, but {comparison.contradicted}; no gain is proven."
        if comparison.relative >= self.minimum_relative_gain:
            return True, f"{numbers}, {percent(comparison.relative)} relative; the gain is proven."
        relative, asked = percent(comparison.relative), percent(self.minimum_relative_gain)
        small = f"{numbers}, {relative} relative; less than the {asked} asked for"
        ratio = self.arms[name].latency.ratio
        if comparison.relative < NEGLIGIBLE_RELATIVE_GAIN and not ratio <= self.budget:
            return (
                False,
                f"{small}, and a gain under 1 % is not worth {ratio:.2f} times the backbone's latency.",
            )
        return False, f"{small}."

    def latency(self, name: str) -> tuple[bool, str]:
        measured = self.arms[name].latency
        affordable = measured.ratio <= self.budget
        side = "within" if affordable else "over"
        sentence = (
            f"{name} takes {measured.ratio:.2f} times the backbone's latency, {side} the budget of {self.budget:.2f}"
        )
        if measured.ratio_p25 <= self.budget <= measured.ratio_p75:
            spread = f"{measured.ratio_p25:.2f} to {measured.ratio_p75:.2f}"
            sentence += f", but so near it that another run may say otherwise (half of the rounds: {spread})"
        return affordable, f"{sentence}."

    def replaces(self, rival: str, name: str) -> tuple[bool, str]:
        if rival not in self.arms:
            return False, f"{rival} was not evaluated, so it is not ruled out as a cheaper way."
        comparison = self.comparisons.get((name, rival))
        if comparison is None:
            return (
                False,
                f"{name} was not compared with {rival}, so {rival} is not ruled out as a cheaper way.",
            )
        numbers = _difference(comparison)
        if comparison.better:
            return False, f"{numbers}; {rival} does not do as well."
        if not self.compared_with_baseline(rival):
            return False, f"{numbers}; {rival} was not compared with {BASELINE}, so it is not known to gain anything."
        gains, sentence = self.gain(rival)
        if not gains:
            return False, f"{numbers}; {rival} is not proven to be worse, but it does not qualify either: {sentence}"
        mine, theirs = self.arms[name].latency, self.arms[rival].latency
        paid = f"{theirs.ratio:.2f} times the backbone's latency against {mine.ratio:.2f}"
        equal = f"{numbers}; {rival} does {'better' if comparison.worse else 'as well'}"
        if theirs.ratio <= self.budget and theirs.ratio <= mine.ratio_p75:
            return True, f"{equal} by simpler means, at {paid}."
        why = "is not cheaper" if theirs.ratio <= self.budget else "is over the budget"
        return False, f"{equal} but {why}, at {paid}."


def _difference(comparison: Comparison) -> str:
    interval = comparison.difference
    span = f"{points(interval.low)} to {points(interval.high)}"
    numbers = f"{points(interval.estimate)} points of accuracy ({100 * interval.confidence:g} % interval {span})"
    return f"{comparison.a} against {comparison.b}: {numbers}"
