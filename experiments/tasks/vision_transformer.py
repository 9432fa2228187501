"""`python -m experiments.tasks.vision_transformer [--root FOLDER]`: the arms on two small transformers, on digits.

The command trains missing fits, needs no data and does not read params.yaml. One backbone classifies from its class
token, one from the mean of its tokens. Messages are read from the mean of all tokens (`token_pool`) or per position.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dynaxx.evaluation.arms import named
from dynaxx.evaluation.cost import hardware
from dynaxx.files import write_text
from experiments.findings import RESULTS, Finding, write
from experiments.job import ROOT, Job
from experiments.tasks.cifar10 import SEEDS, TUNING, arms
from experiments.tasks.digits import compared, default_params, train
from experiments.trials import validation_scores

NETWORK: dict[str, Any] = {
    "_target_": "timm.models.vision_transformer.VisionTransformer",
    "img_size": 8,
    "patch_size": 2,
    "in_chans": 1,
    "embed_dim": 48,
    "depth": 6,
    "num_heads": 4,
    "mlp_ratio": 2.0,
}
CLASS_TOKEN, MEAN = "class-token", "mean-of-tokens"
HEADS: dict[str, dict[str, Any]] = {CLASS_TOKEN: {}, MEAN: {"class_token": False, "global_pool": "avg"}}
"""Options of the network for each kind of classification."""
PRETRAINED = {"model.pretrain.lr": 0.1, "model.pretrain.epochs": 150, "model.pretrain.patience": 150}

POOLED, PLACED = "pooled", "by-place"
CHOSEN = {CLASS_TOKEN: POOLED, MEAN: PLACED}
"""Kind of messages of each backbone, chosen by validation on the tuning seeds."""
EVERY = named("baseline", "explicit", "direct", "explicit_T1", "concat_probe", "concat_mlp", "lora")
LOOPS = named("baseline", "explicit", "direct")


def jobs(head: str, condition: str, names: Iterable[str], seeds: Iterable[int], **options: Any) -> list[Job]:
    """Jobs on one of the backbones with one kind of messages, all with the experiment's default learning rate."""
    changes = PRETRAINED | {"model.network": NETWORK | HEADS[head], "resonance.token_pool": condition == POOLED}
    return arms(f"digits-{head}", condition, names, changes, seeds, {}, **options)


def tuning_jobs() -> list[Job]:
    """Jobs for the choice of the kind of messages, on the tuning seeds."""
    return [
        job
        for head in HEADS
        for condition in (POOLED, PLACED)
        for job in jobs(head, condition, LOOPS, TUNING, tested=False)
    ]


def on_transformers(params: DictConfig, root: Path, seeds: Sequence[int] = SEEDS) -> list[Finding]:
    """Train missing fits, and return one finding per backbone."""
    found = []
    for head, chosen in CHOSEN.items():
        other = PLACED if chosen == POOLED else POOLED
        fits = jobs(head, chosen, EVERY, seeds) + jobs(head, other, LOOPS, seeds)
        train(fits, params, root, f"training on a transformer ({head})")

        def arm_name(job: Job, chosen: str = chosen) -> str:
            return job.arm if job.condition == chosen or job.arm == "baseline" else f"{job.arm} {job.condition}"

        found.append(compared(f"digits/{head}", (job for job in fits if job.condition), params, root, arm_name))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=ROOT, help="where fits are kept")
    root = parser.parse_args(arguments).root
    params, path = default_params(), RESULTS / "tried.json"
    train(tuning_jobs(), params, root, "choosing the kind of messages")
    rows = validation_scores(tuning_jobs(), root, json.loads(path.read_text()) if path.exists() else [])
    write(on_transformers(params, root), RESULTS / "transformer.json", {"evaluated on": hardware()})
    write_text(path, json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
