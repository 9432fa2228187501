"""What a study found: every arm's score, and explicit against each rival on the same seeds and images.

Shape legend: S seeds, N test images.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dynaxx.evaluation.arms import EXPLICIT
from dynaxx.evaluation.statistics import Interval, mean_interval, sign_flip
from dynaxx.files import write_text
from experiments.predictions import Scores

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Difference:
    """An arm, explicit where nothing else is said, minus a rival.

    Attributes:
        rival: its name.
        seeds: on which both are complete.
        interval: of the mean difference, over images, drawn with the answers of all seeds.
        per_seed: the mean difference of each seed.
        p: two-sided, by sign flips over seeds; None with fewer than six.
    """

    rival: str
    seeds: list[int]
    interval: Interval
    per_seed: list[float]
    p: float | None


@dataclass(frozen=True)
class Finding:
    """One regime.

    Attributes:
        regime: its name.
        metric: what a score is.
        scores: mean over images and seeds, by arm.
        differences: of explicit against the other arms.
    """

    regime: str
    metric: str
    scores: dict[str, float]
    differences: list[Difference]


def find(regime: str, metric: str, by_arm: Scores) -> Finding:
    """Compare.

    Args:
        by_arm: arm → seed → score of each test image, (N,).
    """
    scores = {arm: float(np.mean([rows.mean() for rows in seeds.values()])) for arm, seeds in by_arm.items() if seeds}
    own, rest = by_arm.get(EXPLICIT, {}), {arm: seeds for arm, seeds in by_arm.items() if arm != EXPLICIT}
    return Finding(
        regime, metric, scores, [minus(own, arm, seeds) for arm, seeds in rest.items() if set(own) & set(seeds)]
    )


def minus(own: Mapping[int, NDArray[np.float64]], rival: str, other: Mapping[int, NDArray[np.float64]]) -> Difference:
    """One arm minus another, of name `rival`, on the seeds that both have; seed → score of each test image, (N,)."""
    shared = sorted(set(own) & set(other))
    gaps_SN = np.stack([own[seed] - other[seed] for seed in shared])
    per_seed = gaps_SN.mean(1).tolist()
    interval = mean_interval(gaps_SN.mean(0))
    return Difference(rival, shared, interval, per_seed, sign_flip(per_seed, [0.0] * len(shared)))


def beside(found: Sequence[Finding], before: Sequence[Finding]) -> list[Finding]:
    """`found`, and what was found before on fits whose answers are not at hand: of a pair what rests on more seeds."""
    merged = {finding.regime: finding for finding in before}
    for new in found:
        old = merged.get(new.regime)
        merged[new.regime] = new if old is None else _merged(new, old)
    return list(merged.values())


def _merged(new: Finding, old: Finding) -> Finding:
    seeds = {d.rival: len(d.seeds) for d in new.differences}
    left = [d for d in old.differences if len(d.seeds) > seeds.get(d.rival, 0)]
    rivals = {d.rival for d in left}
    scores = old.scores | {arm: score for arm, score in new.scores.items() if arm not in rivals}
    return Finding(new.regime, new.metric, scores, [d for d in new.differences if d.rival not in rivals] + left)


def write(findings: Sequence[Finding], path: Path, told: Mapping[str, object]) -> None:
    """As JSON, with what is `told` of how it came about."""
    text = json.dumps({"told": dict(told), "findings": [asdict(finding) for finding in findings]}, indent=1)
    write_text(path, text + "\n")


def read(path: Path) -> tuple[dict[str, object], list[Finding]]:
    """What `write` wrote."""
    content = json.loads(path.read_text())
    return content["told"], [
        Finding(
            found["regime"],
            found["metric"],
            found["scores"],
            [Difference(**(d | {"interval": Interval(**d["interval"])})) for d in found["differences"]],
        )
        for found in content["findings"]
    ]
