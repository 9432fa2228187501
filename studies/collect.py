"""`python -m studies.collect --slices FILE [--root FOLDER] [--keep]`: from finished fits to studies/results."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from dynaxx.evaluation.arms.facts import ArmFacts
from dynaxx.evaluation.files import write_text
from dynaxx.evaluation.hardware import hardware
from pipelines.source import open_source
from pipelines.stage import read_params
from studies.findings import RESULTS, correct, kept, of_jobs, write
from studies.fit import corrupted_index
from studies.job import ANSWERS, Job
from studies.membrane import TEST, intersection_over_union, slices
from studies.regimes import dense, dense_designs, designs, labels, same, tail, tune
from studies.regimes import main as main_study
from studies.run import ROOT


def tried(jobs: Iterable[Job], root: Path) -> list[dict[str, object]]:
    """What was looked at on validation, on tuning seeds: mean over them, by regime and arm."""
    rows: dict[tuple[str, str, str], list[float]] = {}
    for job in jobs:
        if job.regime and job.arm != "baseline" and job.done(root):
            facts = ArmFacts.read(job.folder(root))
            score = facts.notes.get("iou", facts.val_accuracy)
            rows.setdefault((job.world, job.regime, job.arm), []).append(float(score))
    return [
        {"world": world, "regime": regime, "arm": arm, "seeds": len(scores), "score": float(np.mean(scores))}
        for (world, regime, arm), scores in rows.items()
    ]


def kept_of_tried(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """`rows`, behind what was tried before and is not among them."""
    new = {(row["world"], row["regime"], row["arm"]) for row in rows}
    before: list[dict[str, object]] = json.loads((RESULTS / "tried.json").read_text())
    return [row for row in before if (row["world"], row["regime"], row["arm"]) not in new] + rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--slices", required=True, help="a .zip of image/K.png and label/K.png")
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    parser.add_argument("--keep", action="store_true", help="leave the regimes that have no fit in the folder")
    options = parser.parse_args(arguments)
    root, told = options.root, {"evaluated on": hardware()}
    y = open_source(read_params().data).test().labels.numpy()
    pixels = slices(options.slices)[1][list(TEST)]

    def iou(job: Job, root: Path) -> NDArray[np.float64]:
        answers = load_file(job.folder(root) / ANSWERS)["membrane"]
        return intersection_over_union(answers, pixels).double().numpy()

    clean = [*main_study(), *labels(), *tail(), *same()]
    found = of_jobs(clean, root, "accuracy", correct(y))
    spoilt = [job for job in labels() if job.corrupted]
    worse = of_jobs(spoilt, root, "accuracy", correct(y[corrupted_index(len(y)).numpy()], "corrupted"))
    worse = [replace(finding, regime=f"{finding.regime}/corrupted") for finding in worse]
    for name, findings in (("classes", [*found, *worse]), ("dense", of_jobs(dense(), root, "IoU", iou))):
        path = RESULTS / f"{name}.json"
        write(kept(findings, path) if options.keep else findings, path, told)
    looked_at = tried([*tune(), *designs(), *dense_designs()], root)
    if options.keep:
        looked_at = kept_of_tried(looked_at)
    write_text(RESULTS / "tried.json", json.dumps(looked_at, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
