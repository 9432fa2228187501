"""The decision answers two questions: is there more in the network than its last layer says, and what is enough?

1. Is there more in your network than its last layer says? The reading that is best on validation against the probe on
   the last layer, on test data. If not, the probe is kept, and nothing else is to be paid.
2. Which is the cheapest reading that gets it? The cheapest one that has a proven gain itself, is within the latency
   budget, and is not proven worse than the best of these.

A reading is a way of Dynaxx to use what layers know. A rival is what a user would pick instead, such as LoRA. Rivals
are told beside the decision; they do not change it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dynaxx.evaluation.arms.registry import ARMS, BASELINE, arms_where
from dynaxx.evaluation.costs import COST
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.formatting import amount, label, of_metric, percent
from dynaxx.evaluation.results import Answer, ArmResult, Comparison, Decision
from dynaxx.tasks import Metric

READINGS = arms_where(lambda arm: arm.role == "reading")
"""The readings, the simplest first: Dynaxx's own ways to use what layers know, all deployed by the same calls."""
CONTROLS = arms_where(lambda arm: arm.role == "control")
"""Arms that tell why something works and are no choice of a user."""

MORE = "Is there more in your network than its last layer says?"
CHEAPEST = "Which is the cheapest reading that gets it?"


def questioned(arms: Sequence[str]) -> list[str]:
    """The readings among these arms besides the probe, the simplest first: each of them may be the answer.

    >>> questioned(["lora", "explicit", "concat_probe"])
    ['concat_probe', 'explicit']
    """
    return [name for name in READINGS if name in arms and name != BASELINE]


def decide(
    arms: Sequence[ArmResult],
    comparisons: Sequence[Comparison],
    metric: Metric,
    *,
    latency_budget: float = 0.20,
    minimum_relative_gain: float = 0.02,
) -> Decision:
    """The arm to deploy, and the reasons; `latency_budget` is a fraction of the latency of the deployed probe.

    >>> decide(arms, comparisons, Metric("accuracy")).verdict
    'adopt'

    - A gain counts if it is proven (see `statistics/proof.py`) and is at least `minimum_relative_gain` of what the
      probe reaches; where the metric is an error, the gain is the part of it that is gone.
    - The first question has one comparison: the best reading is chosen on validation, so that no luck on the test data
      chooses it.
    - The cost of an arm is its latency divided by that of the probe; its median decides. Arms whose ratios cannot be
      told from the cheapest one's are equally cheap: the middle halves of their rounds overlap. The simplest of
      them is taken, the first in `ARMS`.

    Args:
        arms: results of all arms, the probe among them.
        comparisons: every arm with the probe, and every two readings with each other.
        metric: metric of the comparisons.
        latency_budget: largest added latency, as a fraction of the probe's.
        minimum_relative_gain: smallest gain worth having, as a fraction of what the probe reaches.

    Raises:
        EvaluationError: the probe is missing, there is no other reading, or a comparison is missing.
    """
    rules = _Rules(
        {arm.name: arm for arm in arms},
        {(comparison.a, comparison.b): comparison for comparison in comparisons},
        metric,
        1 + latency_budget,
        minimum_relative_gain,
    )
    rules.check()
    best = rules.best(rules.readings)
    first, gains = rules.first(best)
    if not gains:
        return Decision("keep_probe", BASELINE, best, [first], rules.beside(BASELINE))
    second, chosen = rules.second()
    arm = chosen or BASELINE
    return Decision("adopt" if chosen else "keep_probe", arm, best, [first, second], rules.beside(arm))


@dataclass(frozen=True)
class _Rules:
    arms: dict[str, ArmResult]
    comparisons: dict[tuple[str, str], Comparison]
    metric: Metric
    budget: float
    minimum: float

    @property
    def readings(self) -> list[str]:
        """Readings besides the probe that were evaluated, the simplest first."""
        return questioned(list(self.arms))

    @property
    def rivals(self) -> list[str]:
        return [name for name in self.arms if name not in READINGS and name not in CONTROLS]

    def check(self) -> None:
        if BASELINE not in self.arms or not self.readings:
            raise EvaluationError(
                f"decide: arms are {sorted(self.arms)}; it needs {BASELINE!r} and one of {list(READINGS)}"
            )
        for name in self.readings:
            if (name, BASELINE) not in self.comparisons:
                raise EvaluationError(f"decide: comparisons lack {name!r} against {BASELINE!r}")

    def best(self, names: Sequence[str]) -> str:
        """The reading with the best validation score; of equal ones the first, as a measured latency may change."""
        return max(names, key=lambda name: round(self._val(name), 9))  # equal scores may be added up in another order

    def _val(self, name: str) -> float:
        """The metric on validation, with the sign with which more is better."""
        arm = self.arms[name]
        if self.metric == COST and arm.costs is not None:
            return -sum(arm.costs.validation_per_seed) / len(arm.costs.validation_per_seed)
        return sum(arm.val_score_per_seed) / len(arm.val_score_per_seed)

    def over_probe(self, name: str) -> Comparison:
        return self.comparisons[name, BASELINE]

    def gains(self, name: str) -> bool:
        comparison = self.over_probe(name)
        return comparison.better and (comparison.relative is None or comparison.relative >= self.minimum)

    def first(self, best: str) -> tuple[Answer, bool]:
        comparison = self.over_probe(best)
        told = f"{best}, the best reading on validation, {_told(comparison, self.metric, 'the probe')}"
        alone = f"The last layer alone ({BASELINE}) reaches {self._reached(BASELINE)}; {best} reaches "
        alone += f"{self._reached(best)}."
        others = [name for name in self.readings if name != best and self.gains(name)]
        unplanned = (
            [
                f"On the test data {_listed(others)} {'does' if len(others) == 1 else 'do'} better than the probe, but "
                f"{'was' if len(others) == 1 else 'were'} not the best on validation: a choice made after looking at "
                "test data proves nothing."
            ]
            if others
            else []
        )
        if not comparison.difference.low > 0:
            return Answer(MORE, "No.", [f"{told}: no gain is proven.", alone, *unplanned]), False
        if comparison.contradicted:
            return Answer(MORE, "No.", [f"{told}, but {comparison.contradicted}.", alone, *unplanned]), False
        if not self.gains(best):
            relative = percent(comparison.relative or 0.0)
            small = f"{told}. That is {relative} of what the probe reaches, less than the {percent(self.minimum)} "
            return Answer(MORE, "Too little.", [f"{small}asked for (evaluate.minimum_relative_gain).", alone]), False
        relative = ""
        if comparison.relative is not None:
            more = f"{percent(comparison.relative)} more than the probe reaches"
            less = f"{percent(comparison.relative)} of the probe's {label(self.metric.name)}"
            relative = f", that is {more if self.metric.higher_is_better else less}"
        return Answer(MORE, "Yes.", [f"{told}{relative}. The gain is proven.", alone]), True

    def second(self) -> tuple[Answer, str | None]:
        gaining = [name for name in self.readings if self.gains(name)]
        affordable = [name for name in gaining if self.arms[name].latency.ratio <= self.budget]
        if not affordable:
            cheapest = min(gaining, key=lambda name: self.arms[name].latency.ratio)
            asked = max(self.arms[cheapest].latency.ratio - 1, 0.0)
            return Answer(
                CHEAPEST,
                "None within the latency budget; keep the probe.",
                [
                    f"The cheapest reading with a gain is {cheapest}: {self._cost(cheapest)}, over the budget of "
                    f"{self.budget:.2f}{self._near(cheapest)}.",
                    f"What would do: a budget of {percent(asked + 0.005, 0)} more latency "
                    f"(evaluate.latency_budget={asked + 0.005:.2f}), or fewer coupled layers (select.taps), which cost "
                    "less.",
                ],
            ), None
        best = self.best(affordable)
        enough = [name for name in affordable if name == best or not self._between(best, name).better]
        cheapest = min(enough, key=lambda name: self.arms[name].latency.ratio)
        limit = self.arms[cheapest].latency.ratio_p75
        alike = [name for name in enough if name == cheapest or self.arms[name].latency.ratio_p25 <= limit]
        chosen = alike[0]  # readings are ordered, the simplest first
        reasons = [
            f"{chosen} costs {self._cost(chosen)}, within the budget of {self.budget:.2f}{self._near(chosen)}, and "
            f"{_told(self.over_probe(chosen), self.metric, 'the probe')}."
        ]
        if chosen != best:
            reasons.append(
                f"{best}, the best reading on validation within the budget, is not proven better: it "
                f"{_told(self._between(best, chosen), self.metric, chosen)} and costs {self._cost(best)}."
            )
        for name in affordable:
            if name not in enough:
                reasons.append(
                    f"{name} is not enough, as is proven: it {_told(self._between(name, best), self.metric, best)}."
                )
        if others := [name for name in alike if name != chosen]:
            reasons.append(f"{_listed(others)} cost{'s' if len(others) == 1 else ''} the same within the spread of the "
                           f"rounds; {chosen} is the simplest.")  # fmt: skip
        reasons += [
            f"{name} has a gain, but costs {self._cost(name)}, over the budget of {self.budget:.2f}{self._near(name)}."
            for name in gaining
            if name not in affordable
        ]
        return Answer(CHEAPEST, f"{chosen}.", reasons), chosen

    def beside(self, arm: str) -> list[str]:
        """What the rivals would give, against the arm that is recommended, and what their training takes."""
        sentences = []
        for rival in self.rivals:
            comparison = self.over_probe(rival) if arm == BASELINE else self._between(rival, arm)
            words = f"{rival} {_told(comparison, self.metric, arm)}"
            if not (comparison.better or comparison.worse):
                words += ", which proves nothing either way"
            mine, theirs = self.arms[arm].train_seconds, self.arms[rival].train_seconds
            times = f"{theirs / mine:,.1f} times the training" if mine > 0 else f"{theirs:,.0f} s of training"
            frozen = (
                ""
                if rival not in ARMS or ARMS[rival].frozen
                else ", and changes the backbone, which then serves this task alone"
            )
            sentences.append(f"{words}, at {times} and {self._cost(rival)}{frozen}.")
        return sentences

    def _between(self, a: str, b: str) -> Comparison:
        if (a, b) in self.comparisons:
            return self.comparisons[a, b]
        if (b, a) in self.comparisons:
            return self.comparisons[b, a].turned()
        raise EvaluationError(f"decide: comparisons lack {a!r} against {b!r}")

    def _reached(self, name: str) -> str:
        costs = self.arms[name].costs
        priced = self.metric == COST and costs is not None
        return of_metric(costs.per_1000.estimate if priced and costs else self.arms[name].mean, self.metric)

    def _cost(self, name: str) -> str:
        return f"{self.arms[name].latency.ratio:.2f} times the probe's latency"

    def _near(self, name: str) -> str:
        """Words for a ratio so close to the budget that noise may carry it to the other side."""
        measured = self.arms[name].latency
        if not measured.ratio_p25 <= self.budget <= measured.ratio_p75:
            return ""
        spread = f"{measured.ratio_p25:.2f} to {measured.ratio_p75:.2f}"
        return (
            f" (so near it that another run may say otherwise: half of the rounds lie in {spread}; the median decides)"
        )


def _told(comparison: Comparison, metric: Metric, over: str) -> str:
    """What the first arm of a comparison does to the metric, with its interval, as the rest of a sentence."""
    d, sign = comparison.difference, 1 if comparison.difference.estimate >= 0 else -1
    low, high = sorted((sign * d.low, sign * d.high))
    if metric.higher_is_better:
        verb = f"{'gains' if sign > 0 else 'loses'} {amount(sign * d.estimate, metric)}"
    else:
        change = amount(sign * d.estimate, metric)
        verb = f"{'lowers' if sign > 0 else 'raises'} the {label(metric.name)} by {change}"
    span = f"{amount(low, metric, unit=False)} to {amount(high, metric, unit=False)}"
    return f"{verb} ({100 * d.confidence:g} % interval {span}) against {over}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
