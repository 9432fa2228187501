"""`python -m experiments.tasks.advice ROOT …`: write the pairs that `dynaxx advise` is calibrated on.

Each ROOT holds the settings trained by `python -m experiments.run advice` or `advice_digits`. The file params.yaml lies
two folders above ROOT.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from dynaxx.data import load_prepared
from dynaxx.files import write_text
from dynaxx.selection import PAIRS, MeasuredPair, gather as look_at, leave_task_out
from dynaxx.training.pretrained import load_backbone
from experiments.findings import find
from experiments.predictions import gather, read_predictions, read_scores
from experiments.tasks.cifar10 import COARSE, advice, advice_digits
from pipelines.common.source import open_source

IMAGES = 500


def measured(root: Path) -> list[MeasuredPair]:
    """The pairs of all complete settings below one root."""
    params = OmegaConf.load(root.parents[1] / "params.yaml")
    labels = torch.as_tensor(open_source(params.data).test().labels, dtype=torch.uint8)
    kept, pairs = root / "answers", []
    gather([*advice(), *advice_digits()], root, read_predictions(root), labels, folder=kept)
    for condition, scores in read_scores(kept).items():
        finding, setting = find(condition, "accuracy", scores), root / condition.split("/")[0]
        gains = {d.rival: 100 * float(np.mean(d.per_seed)) for d in finding.differences}
        if len(gains) < 3:
            continue
        prepared = load_prepared(setting / "prepare")
        backbone = load_backbone(params.model, setting / "pretrain", prepared.manifest.image_shape[0])
        seen = look_at(backbone.network, prepared.task(), backbone.normalisation, max_images=IMAGES)
        name = f"{params.data.name}, {setting.name.removeprefix('digits-')}"
        pairs.append(MeasuredPair(name, seen.share_left, seen.probe_gain, gains))
        print(pairs[-1], flush=True)
    return pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("roots", nargs="+", type=Path, metavar="ROOT", help="as PLACE/.dynaxx/experiments")
    roots = [root.resolve() for root in parser.parse_args(arguments).roots]
    for root in roots:
        if not (root.parents[1] / "params.yaml").exists():
            print(f"error: ROOT {root}: no params.yaml two folders above it", file=sys.stderr)
            return 1
    found = [pair for root in roots for pair in measured(root)]
    pairs = [pair for pair in found if not pair.name.endswith(f", {COARSE}")]  # held out for evaluation
    if len(pairs) < 6:
        print(
            f"error: {len(pairs)} settings are complete, at least 6 are needed; run the experiments first",
            file=sys.stderr,
        )
        return 1
    errors = [
        {"pair": pair.name, "measured": pair.gains["baseline"], **asdict(found)}
        for pair, found in zip(pairs, leave_task_out(pairs), strict=True)
    ]
    content = {"images": IMAGES, "pairs": [asdict(pair) for pair in pairs], "left_out": errors}
    content["held_out"] = [asdict(pair) for pair in found if pair not in pairs]
    write_text(PAIRS, json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
