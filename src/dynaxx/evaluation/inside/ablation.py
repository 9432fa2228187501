"""The metric of the trained loop with some couplings (maps from one tapped layer to another) set to zero."""

from collections.abc import Sequence
from dataclasses import dataclass

from dynaxx import ResonantModel
from dynaxx.data import track
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.statistics import Interval, Scores


@dataclass(frozen=True)
class Ablation:
    """The metric of the trained loop with some couplings set to zero, without retraining."""

    name: str
    silenced: int
    """Number of couplings that the ablation sets to zero."""
    value_per_seed: list[float]
    gain: Interval
    """Gain over the complete loop, in the metric's unit; negative where the couplings are needed."""


def ablations(loops: Sequence[ResonantModel], judge: Judge) -> list[Ablation]:
    """Ablate each coupling, all couplings into one tapped layer, and all except those into an output layer.

    >>> ablations([model], judge)[0].name
    'without layer1 → layer2'

    Args:
        loops: trained models of the arm `explicit`, one per seed, with couplings between the same layers.
        judge: judge of the test samples.
    """
    whole = _scores(loops, judge, [])
    results = []
    for name, silenced in track(list(_cuts(loops[0]).items()), "silencing couplings"):
        cut = _scores(loops, judge, silenced)
        results.append(Ablation(name, len(silenced), judge.values(cut), judge.gain(cut, whole)))
    return results


def _cuts(loop: ResonantModel) -> dict[str, list[int]]:
    """Name of the ablation → indices of the couplings to set to zero."""
    exchange = loop.require_built().exchange
    pairs = exchange.couplings.pairs
    cuts = {f"without {exchange.names[p.source]} → {exchange.names[p.target]}": [n] for n, p in enumerate(pairs)}
    for tap in exchange.outputs:
        others = [n for n, pair in enumerate(pairs) if pair.target != tap]
        if others and len(others) < len(pairs):
            cuts[f"only into {exchange.names[tap]}"] = others
    for target in sorted({pair.target for pair in pairs}):
        into = [n for n, pair in enumerate(pairs) if pair.target == target]
        if 1 < len(into) < len(pairs):
            cuts[f"without any into {exchange.names[target]}"] = into
    return cuts


def _scores(loops: Sequence[ResonantModel], judge: Judge, silenced: list[int]) -> Scores:
    rows = []
    for loop in loops:
        with loop.ablated(silenced):
            rows.append(judge.outputs(loop))
    return judge.scores(rows)
