"""`python -m experiments.tasks.rotation.run [--root FOLDER]`: regression of a digit's rotation angle.

The command trains all arms again, needs no data and does not read params.yaml. The frozen backbone is a classifier of
the default run, trained on upright digits alone. Its new single output is trained on squared error. Scores are absolute
errors.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from dynaxx.backbone import Head
from dynaxx.data import LabelledImages, track
from dynaxx.evaluation.arms import ArmRecord, TapProbe, Task, named, save_probe
from dynaxx.evaluation.cost import hardware
from dynaxx.evaluation.statistics import mean_interval, sign_flip
from dynaxx.files import write_text
from experiments.findings import EXPLICIT, RESULTS
from experiments.job import BACKBONE_ARM, ROOT, Job
from experiments.published import published_task
from experiments.tasks.cifar10 import SEEDS, TUNING
from experiments.tasks.digits import default_params, train
from experiments.tasks.rotation.task import RotatedImages, errors, ridge, trained
from pipelines.common.source import open_source

RATES = (1.5e-3, 5e-3, 1.5e-2)
LOOPS = named(EXPLICIT, "direct")


def with_one_output(task: Task, seed: int, head: Head) -> Task:
    """The task with one output, which starts from `head` in this seed."""
    folder, count = task.probes / f"seed-{seed}", sum(parameter.numel() for parameter in head.parameters())
    save_probe(folder, head)
    ArmRecord("baseline", seed, "probe", [], count, count, 0.0, 0.0, {}).write(folder)
    return replace(task, images=LabelledImages(task.images.images, 0 * task.images.labels, ("angle",)))


def one_seed(task: Task, seed: int, held_out: RotatedImages | None, rates: dict[str, float]) -> dict[str, Tensor]:
    """The errors of every arm on the images `held_out`; None: on the seed's validation images."""
    train_index, val_index = task.split(seed)
    every = RotatedImages.of(task.images.images, seed=0)
    seen, held_out = every.part(train_index), every.part(val_index) if held_out is None else held_out
    head = ridge(task, seen, ())
    models: dict[str, nn.Module] = {
        "baseline": TapProbe(task.backbone(), (), head),
        "concat_probe": TapProbe(task.backbone(), task.taps, ridge(task, seen, task.taps)),
    }
    angle = with_one_output(task, seed, head)
    models |= {arm: trained(angle, arm, seed, seen, rates[arm]) for arm in LOOPS}
    return {arm: errors(model, held_out, task) for arm, model in models.items()}


def found(
    params: DictConfig, root: Path, seeds: Sequence[int] = SEEDS, rates: Sequence[float] = RATES
) -> dict[str, Any]:
    """The error of each arm at its best learning rate on validation, and the relative difference of explicit to it."""
    train([Job("digits", "", BACKBONE_ARM, 0)], params, root, "preparing the digits")
    folder = root / "digits"
    task = replace(
        published_task(params, root=folder, cache=root / "features"), probes=folder / "regression" / "baseline"
    )
    tried = {rate: one_seed(task, TUNING[0], None, dict.fromkeys(LOOPS, rate)) for rate in track(list(rates), "tuning")}
    best = {arm: min(rates, key=lambda rate: float(tried[rate][arm].mean())) for arm in LOOPS}
    held_out = RotatedImages.of(open_source(params.data).test().images, seed=1)
    by_seed = [one_seed(task, seed, held_out, best) for seed in track(list(seeds), "turning digits")]
    error_SN = {arm: torch.stack([e[arm] for e in by_seed]).double().numpy() for arm in by_seed[0]}
    against = {}
    for arm in error_SN:
        if arm != EXPLICIT:
            gap_SN = (error_SN[EXPLICIT] - error_SN[arm]) / error_SN[arm].mean()
            per_seed = gap_SN.mean(1).tolist()
            p = sign_flip(per_seed, [0.0] * len(per_seed))
            against[arm] = {"relative": asdict(mean_interval(gap_SN.mean(0))), "per_seed": per_seed, "p": p}
    return {
        "seeds": len(by_seed),
        "images": len(held_out.angles),
        "validation": {f"{rate:g}": {arm: float(e[arm].mean()) for arm in LOOPS} for rate, e in tried.items()},
        "rates": best,
        "degrees": {arm: float(e.mean()) for arm, e in error_SN.items()},
        "against": against,
        "evaluated on": hardware(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where the backbone is kept")
    root = parser.parse_args(arguments).root
    write_text(RESULTS / "regression.json", json.dumps(found(default_params(), root), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
