"""`python -m studies.collect --slices FILE [--root FOLDER]`: from finished fits to studies/results."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from dynaxx.evaluation.arms.facts import ArmFacts
from dynaxx.evaluation.files import write_text
from dynaxx.evaluation.hardware import hardware
from pipelines.source import open_source
from pipelines.stage import read_params
from studies.findings import RESULTS, correct, of_jobs, write
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--slices", required=True, help="a .zip of image/K.png and label/K.png")
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
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
    worse = of_jobs(spoilt, root, "accuracy, corrupted", correct(y[corrupted_index(len(y)).numpy()], "corrupted"))
    write([*found, *worse], RESULTS / "classes.json", told)
    write(of_jobs(dense(), root, "IoU", iou), RESULTS / "dense.json", told)
    looked_at = tried([*tune(), *designs(), *dense_designs()], root)
    write_text(RESULTS / "tried.json", json.dumps(looked_at, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
