"""The findings of an experiment: every arm's score, and explicit against each rival on the same seeds and images.

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

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Difference:
    """The score of an arm, explicit by default, minus that of a rival.

    >>> minus(scores["explicit"], "direct", scores["direct"]).interval.estimate
    0.004

    Attributes:
        rival: name of the rival.
        seeds: seeds on which both are complete.
        interval: interval of the mean difference; images are resampled jointly across seeds.
        per_seed: mean difference of each seed.
        p: two-sided p-value by sign flips over seeds; None with fewer than six seeds.
    """

    rival: str
    seeds: list[int]
    interval: Interval
    per_seed: list[float]
    p: float | None


@dataclass(frozen=True)
class Finding:
    """The results of one condition.

    >>> find("coarse/main", "accuracy", read_scores()["coarse/main"]).scores["explicit"]
    0.71

    Attributes:
        condition: name of the condition.
        metric: name of the score, "accuracy" or "IoU".
        scores: arm → mean score over images and seeds.
        differences: differences of explicit to the other arms.
    """

    condition: str
    metric: str
    scores: dict[str, float]
    differences: list[Difference]


def find(condition: str, metric: str, by_arm: Scores) -> Finding:
    """Compare explicit with every other arm; `by_arm` is arm → seed → score of each test image, (N,)."""
    scores = {arm: float(np.mean([rows.mean() for rows in seeds.values()])) for arm, seeds in by_arm.items() if seeds}
    own, rest = by_arm.get(EXPLICIT, {}), {arm: seeds for arm, seeds in by_arm.items() if arm != EXPLICIT}
    return Finding(
        condition, metric, scores, [minus(own, arm, seeds) for arm, seeds in rest.items() if set(own) & set(seeds)]
    )


def minus(own: Mapping[int, NDArray[np.float64]], rival: str, other: Mapping[int, NDArray[np.float64]]) -> Difference:
    """One arm minus another, named `rival`, on their common seeds; both are seed → score of each test image, (N,)."""
    shared = sorted(set(own) & set(other))
    gaps_SN = np.stack([own[seed] - other[seed] for seed in shared])
    per_seed = gaps_SN.mean(1).tolist()
    interval = mean_interval(gaps_SN.mean(0))
    return Difference(rival, shared, interval, per_seed, sign_flip(per_seed, [0.0] * len(shared)))


def beside(found: Sequence[Finding], before: Sequence[Finding]) -> list[Finding]:
    """Merge `found` with earlier findings, some from fits without stored predictions; more seeds take precedence."""
    merged = {finding.condition: finding for finding in before}
    for new in found:
        old = merged.get(new.condition)
        merged[new.condition] = new if old is None else _merged(new, old)
    return list(merged.values())


def _merged(new: Finding, old: Finding) -> Finding:
    seeds = {d.rival: len(d.seeds) for d in new.differences}
    left = [d for d in old.differences if len(d.seeds) > seeds.get(d.rival, 0)]
    rivals = {d.rival for d in left}
    scores = old.scores | {arm: score for arm, score in new.scores.items() if arm not in rivals}
    return Finding(new.condition, new.metric, scores, [d for d in new.differences if d.rival not in rivals] + left)


def write(findings: Sequence[Finding], path: Path, origin: Mapping[str, object]) -> None:
    """Write findings as JSON, with a description of their origin."""
    text = json.dumps({"told": dict(origin), "findings": [asdict(finding) for finding in findings]}, indent=1)
    write_text(path, text + "\n")


def read(path: Path) -> tuple[dict[str, object], list[Finding]]:
    """Read the origin and the findings from JSON."""
    content = json.loads(path.read_text())
    return content["told"], [
        Finding(
            found["condition"],
            found["metric"],
            found["scores"],
            [Difference(**(d | {"interval": Interval(**d["interval"])})) for d in found["differences"]],
        )
        for found in content["findings"]
    ]
