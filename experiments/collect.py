"""`python -m experiments.collect [--root FOLDER] [--slices FILE]`: from finished fits to experiments/results.

What the fits in the folder answered joins what fits elsewhere did; all findings are worked out anew from both.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynaxx.evaluation.arms import ArmRecord
from dynaxx.evaluation.cost import hardware
from dynaxx.files import write_text
from experiments.analysis.findings import RESULTS, beside, find, read, write
from experiments.fit import corrupted_index
from experiments.job import MEMBRANE, Job
from experiments.predictions import answered, gather, read_scores
from experiments.run import ROOT
from experiments.tasks.cifar10 import again, dense, dense_designs, designs, labels, same, tail, tail_tune, tune
from experiments.tasks.cifar10 import main as main_study
from experiments.tasks.membrane.task import TEST, intersection_over_union, slices
from pipelines.common.source import open_source
from pipelines.common.stage import read_params

Tried = list[dict[str, Any]]


def gather_classes(root: Path) -> None:
    """What the fits on CIFAR-10 answered."""
    jobs = [job for job in (*main_study(), *labels(), *tail(), *again(), *same()) if job.done(root)]
    if not jobs:
        return
    y = torch.as_tensor(open_source(read_params().data).test().labels, dtype=torch.uint8)
    for name, some, right, within in (
        ("clean", jobs, y, ""),
        ("corrupted", [job for job in jobs if job.corrupted], y[corrupted_index(len(y))], "/corrupted"),
    ):
        gather(some, root, answered(root, name), right, within)


def gather_slices(root: Path, path: str) -> None:
    """How well the fits on microscope slices found the membranes of each."""
    pixels, masks = slices(path)[1][list(TEST)], answered(root, "membrane")
    gather(dense(), root, lambda job: intersection_over_union(masks(job), pixels).float())


def tried(jobs: Iterable[Job], root: Path, before: Tried) -> Tried:
    """What was looked at on validation, on tuning seeds: mean over them, by regime and arm; the rest as `before`."""
    rows: dict[tuple[str, str, str], list[float]] = {}
    for job in jobs:
        if job.regime and job.done(root):
            record = ArmRecord.read(job.folder(root))
            score = record.notes.get("iou", record.val_accuracy)
            rows.setdefault((job.world, job.regime, job.arm), []).append(float(score))
    merged = {(row["world"], row["regime"], row["arm"]): row for row in before}
    for (world, regime, arm), scores in rows.items():
        mean = float(np.mean(scores))
        merged[world, regime, arm] = {"world": world, "regime": regime, "arm": arm, "seeds": len(scores), "score": mean}
    return list(merged.values())


def write_findings() -> None:
    """From all answers, in the order that the findings had before; new regimes behind them."""
    by_regime = read_scores()
    for name, metric in (("classes", "accuracy"), ("dense", "IoU")):
        mine = [regime for regime in by_regime if (regime.split("/")[0] == MEMBRANE) == (name == "dense")]
        if mine:
            path = RESULTS / f"{name}.json"
            before = read(path)[1] if path.exists() else []
            found = [find(regime, metric, by_regime[regime]) for regime in mine]
            write(beside(found, before), path, {"evaluated on": hardware()})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    parser.add_argument("--slices", help="a .zip of image/K.png and label/K.png, where the dense task was fitted")
    options = parser.parse_args(arguments)
    try:
        gather_classes(options.root)
        if options.slices:
            gather_slices(options.root, options.slices)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_findings()
    path = RESULTS / "tried.json"
    before = json.loads(path.read_text()) if path.exists() else []
    looked_at = tried([*tune(), *tail_tune(), *designs(), *dense_designs()], options.root, before)
    write_text(path, json.dumps(looked_at, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
