"""`python -m experiments.suite.advice --data FOLDER`: what `dynaxx advise` is calibrated on, from the suite.

For each case with results it measures the evidence on 500 training images, and takes from the results what the best
reading on validation gained. Pairs of other backbones (`experiments.tasks.advice`) stay as they are. Each pair is also
forecast from the pairs of all other tasks, and the page says what `advise` would have said.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dynaxx.data import load_prepared
from dynaxx.evaluation import unit_of_gain
from dynaxx.evaluation.arms import BASELINE, EXPLICIT
from dynaxx.files import write_text
from dynaxx.selection import PAIRS, Evidence, MeasuredPair, gather, leave_task_out, read_pairs
from dynaxx.selection.advise import judge
from dynaxx.training.pretrained import load_backbone
from experiments.job import ROOT
from experiments.suite.cases import CASES, Case
from experiments.suite.fit import setting_of
from experiments.suite.results import FOLDER, read_case
from experiments.suite.standing import Standing, standing
from pipelines.common.task import kind_of_task

IMAGES = 500
TASKS = {
    "digits-600": "digits on EfficientNet-Lite0, 600 labels",
    "digits-100": "digits on EfficientNet-Lite0, 100 labels",
    "landcover": "land cover",
    "landcover-rare-river": "land cover, river rare",
    "polyps-100": "polyps, 100 labels",
    "polyps": "polyps, all labels",
}
"""Case → name of the pair, where it is another; a task is what stands before the comma."""


@dataclass(frozen=True)
class Said:
    """What `advise` says about a case, left out, and what was measured.

    Attributes:
        name: name of the pair.
        verdict, iterate: what it says.
        gained: whether the best reading on validation has a proven gain.
        seconds: time that the evidence took.
    """

    name: str
    verdict: str
    iterate: bool
    gained: bool
    seconds: float


def looked_at(case: Case, data: Path | None, root: Path) -> Evidence:
    """The evidence of a case whose setting is built below `root`."""
    params, place = case.params(data), setting_of(root, case)
    prepared = load_prepared(place / "prepare")
    backbone = load_backbone(params.model, place / "pretrain", prepared.manifest.image_shape[0])
    grid = tuple(params.resonance.grid) if params.resonance.grid else None
    return gather(
        backbone.network,
        prepared.task(),
        backbone.normalisation,
        kind=kind_of_task(params),
        max_images=IMAGES,
        grid=grid,
    )


def pair_of(case: str, evidence: Evidence, now: Standing) -> MeasuredPair:
    """Evidence and gains of a case."""
    scale = 100.0
    gain = now.best.over_probe.difference.estimate
    explicit = now.arms.get(EXPLICIT)
    gains = {BASELINE: scale * (gain if now.metric.higher_is_better else gain / now.probe.value)}
    if explicit is not None and now.metric.name == "accuracy":
        for arm in ("direct", "concat_probe"):
            if arm in now.arms:
                gains[arm] = scale * now.metric.gain(explicit.value, now.arms[arm].value)
    return MeasuredPair(TASKS.get(case, case), evidence.share_left, evidence.probe_gain, gains)


def measured(data: Path | None, root: Path, results: Path) -> Iterator[tuple[MeasuredPair, Evidence, Standing, float]]:
    """Pair, evidence, results and seconds of every case with results and a setting."""
    for name, case in CASES.items():
        found = read_case(name, results)
        if found is None or BASELINE not in found.fits or case.missing(data) or not setting_of(root, case).exists():
            continue
        now = standing(found)
        if not now.readings or now.metric.name == "auroc" or name == "lines-tanh":
            continue  # without labels there is no advice
        started = time.perf_counter()
        evidence = looked_at(case, data, root)
        yield pair_of(name, evidence, now), evidence, now, time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.suite.advice", description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, help="folder of the packs that cases read")
    parser.add_argument("--root", type=Path, default=ROOT, help="where `make suite` has built the settings")
    parser.add_argument("--results", type=Path, default=FOLDER, help="where files of results are kept")
    options = parser.parse_args(arguments)
    found = list(measured(options.data.resolve() if options.data else None, options.root, options.results))
    if not found:
        print(
            f"error: --root {options.root}: no case has a setting there and results; run `make suite`", file=sys.stderr
        )
        return 1
    content = json.loads(PAIRS.read_text())
    mine = {pair.name: (pair, evidence, now, seconds) for pair, evidence, now, seconds in found}
    # a case whose information has to travel says nothing about what linear readings gain
    usable = [pair for pair, evidence, _, _ in found if evidence.travel is None]
    pairs = [pair for pair in read_pairs() if pair.name not in mine] + usable
    said = []
    for name, (pair, evidence, now, seconds) in mine.items():
        advice = judge(evidence, [other for other in pairs if other.task != pair.task], 0.0, 0.2, 0.02)
        gained = now.best.over_probe.better
        said.append(Said(name, advice.verdict, advice.iterate, gained, round(seconds, 1)))
        print(f"{name}: {advice.verdict}; {advice.reason}; measured {pair.gains[BASELINE]:+.1f} "
              f"{unit_of_gain(now.metric)}, {'proven' if gained else 'not proven'}", flush=True)  # fmt: skip
    content["pairs"] = [asdict(pair) for pair in pairs]
    content["left_out"] = [
        {"pair": pair.name, "measured": pair.gains[BASELINE], **asdict(one)}
        for pair, one in zip(pairs, leave_task_out(pairs), strict=True)
    ]
    kept = [one for one in content.get("said", []) if one["name"] not in mine]
    content["said"] = [*kept, *(asdict(one) for one in said)]
    write_text(PAIRS, json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
