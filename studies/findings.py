"""What a study found: every arm's score, and explicit against each rival on the same seeds and images.

Shape legend: S seeds, N test images.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from dynaxx.evaluation.files import write_text
from dynaxx.evaluation.statistics import Interval, mean_interval, sign_flip
from studies.job import ANSWERS, Job

Scores = Callable[[Job, Path], NDArray[np.float64]]
"""Of one complete job: a number for each test image, (N,)."""

EXPLICIT = "explicit"

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Difference:
    """Explicit minus a rival.

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


def find(regime: str, metric: str, by_arm: Mapping[str, Mapping[int, NDArray[np.float64]]]) -> Finding:
    """Compare.

    Args:
        by_arm: arm → seed → score of each test image, (N,).
    """
    scores = {arm: float(np.mean([rows.mean() for rows in seeds.values()])) for arm, seeds in by_arm.items() if seeds}
    own, differences = by_arm.get(EXPLICIT, {}), []
    for rival, other in by_arm.items():
        shared = sorted(set(own) & set(other))
        if rival == EXPLICIT or not shared:
            continue
        gaps_SN = np.stack([own[seed] - other[seed] for seed in shared])
        per_seed = gaps_SN.mean(1).tolist()
        interval = mean_interval(gaps_SN.mean(0))
        differences.append(Difference(rival, shared, interval, per_seed, sign_flip(per_seed, [0.0] * len(shared))))
    return Finding(regime, metric, scores, differences)


def of_jobs(jobs: Sequence[Job], root: Path, metric: str, scores: Scores) -> list[Finding]:
    """The findings of all regimes among `jobs`, from those that are complete."""
    regimes: dict[str, dict[str, dict[int, NDArray[np.float64]]]] = {}
    for job in jobs:
        if job.regime and job.done(root):
            of_regime = regimes.setdefault(f"{job.world}/{job.regime}", {})
            of_regime.setdefault(job.arm, {})[job.seed] = scores(job, root)
    return [find(regime, metric, by_arm) for regime, by_arm in regimes.items()]


def kept(found: Sequence[Finding], path: Path) -> list[Finding]:
    """`found`, behind what `path` has of other regimes: their fits may be on another machine."""
    new = {finding.regime for finding in found}
    old = read(path)[1] if path.exists() else []
    return [finding for finding in old if finding.regime not in new] + list(found)


def correct(labels: NDArray[np.int64], name: str = "clean") -> Scores:
    """1 for each image that the job answered correctly, 0 for the others; of corrupted ones the mean over all kinds."""

    def scores(job: Job, root: Path) -> NDArray[np.float64]:
        answers = load_file(job.folder(root) / ANSWERS)[name].numpy()
        return (answers == labels).astype(np.float64).reshape(-1, len(labels)).mean(0)

    return scores


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
