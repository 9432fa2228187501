"""`python -m experiments.collect [--root FOLDER] [--slices FILE]`: from complete fits to experiments/results.

The predictions of the fits in the folder are added to those of fits on other machines. All findings are then computed
again from both.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from dynaxx.evaluation.cost import hardware
from dynaxx.files import write_text
from experiments.findings import RESULTS, beside, find, read, write
from experiments.fit import corrupted_index
from experiments.job import MEMBRANE, ROOT
from experiments.predictions import gather, read_predictions, read_scores
from experiments.tasks.cifar10 import (
    again,
    dense,
    dense_designs,
    designs,
    labels,
    main as main_experiment,
    same,
    tail,
    tail_tune,
    tune,
)
from experiments.tasks.membrane.task import TEST, intersection_over_union, slices
from experiments.trials import validation_scores
from pipelines.common.source import open_source
from pipelines.common.stage import read_params


def gather_classes(root: Path) -> None:
    """Gather the predictions of the fits on CIFAR-10."""
    jobs = [job for job in (*main_experiment(), *labels(), *tail(), *again(), *same()) if job.done(root)]
    if not jobs:
        return
    y = torch.as_tensor(open_source(read_params().data).test().labels, dtype=torch.uint8)
    for name, some, right, within in (
        ("clean", jobs, y, ""),
        ("corrupted", [job for job in jobs if job.corrupted], y[corrupted_index(len(y))], "/corrupted"),
    ):
        gather(some, root, read_predictions(root, name), right, within)


def gather_slices(root: Path, path: str) -> None:
    """Gather the IoU of the fits on microscope slices, per slice."""
    pixels, masks = slices(path)[1][list(TEST)], read_predictions(root, "membrane")
    gather(dense(), root, lambda job: intersection_over_union(masks(job), pixels).float())


def write_findings() -> None:
    """Compute the findings from all predictions, in their earlier order, with new conditions at the end."""
    by_condition = read_scores()
    for name, metric in (("classes", "accuracy"), ("dense", "IoU")):
        mine = [condition for condition in by_condition if (condition.split("/")[0] == MEMBRANE) == (name == "dense")]
        if mine:
            path = RESULTS / f"{name}.json"
            before = read(path)[1] if path.exists() else []
            found = [find(condition, metric, by_condition[condition]) for condition in mine]
            write(beside(found, before), path, {"evaluated on": hardware()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
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
    trials = validation_scores([*tune(), *tail_tune(), *designs(), *dense_designs()], options.root, before)
    write_text(path, json.dumps(trials, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
