"""`python -m experiments.tasks.advice ROOT …`:
what `dynaxx advise` is calibrated on, from the worlds of the study `advice`.

Each ROOT holds the worlds that `python -m experiments.run advice` or `advice_digits` trained there, and params.yaml
lies
two folders above it.
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
from dynaxx.selection.evidence import gather as look_at
from dynaxx.selection.expected_gain import PAIRS, Pair, left_out
from dynaxx.training.pretrained import load_backbone
from experiments.analysis.findings import find
from experiments.predictions import answered, gather, read_scores
from experiments.tasks.cifar10 import COARSE, advice, advice_digits
from pipelines.common.source import open_source

IMAGES = 500


def measured(root: Path) -> list[Pair]:
    """The pairs of all worlds in one root that are complete."""
    params = OmegaConf.load(root.parents[1] / "params.yaml")
    labels = torch.as_tensor(open_source(params.data).test().labels, dtype=torch.uint8)
    kept, pairs = root / "answers", []
    gather([*advice(), *advice_digits()], root, answered(root), labels, folder=kept)
    for regime, scores in read_scores(kept).items():
        finding, world = find(regime, "accuracy", scores), root / regime.split("/")[0]
        gains = {d.rival: 100 * float(np.mean(d.per_seed)) for d in finding.differences}
        if len(gains) < 3:
            continue
        prepared = load_prepared(world / "prepare")
        backbone = load_backbone(params.model, world / "pretrain", prepared.manifest.image_shape[0])
        seen = look_at(backbone.network, prepared.task(), backbone.normalisation, most=IMAGES)
        name = f"{params.data.name}, {world.name.removeprefix('digits-')}"
        pairs.append(Pair(name, seen.share_left, seen.probe_gain, gains))
        print(pairs[-1], flush=True)
    return pairs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("roots", nargs="+", type=Path, metavar="ROOT", help="as PLACE/.dynaxx/experiments")
    roots = [root.resolve() for root in parser.parse_args(arguments).roots]
    for root in roots:
        if not (root.parents[1] / "params.yaml").exists():
            print(f"error: ROOT {root}: no params.yaml two folders above it", file=sys.stderr)
            return 1
    found = [pair for root in roots for pair in measured(root)]
    pairs = [pair for pair in found if not pair.name.endswith(f", {COARSE}")]  # which is kept to be judged by
    if len(pairs) < 6:
        print(f"error: {len(pairs)} worlds are complete, at least 6 are needed; run the studies first", file=sys.stderr)
        return 1
    errors = [
        {"pair": pair.name, "measured": pair.gains["baseline"], **asdict(found)}
        for pair, found in zip(pairs, left_out(pairs), strict=True)
    ]
    content = {"images": IMAGES, "pairs": [asdict(pair) for pair in pairs], "left_out": errors}
    content["held_out"] = [asdict(pair) for pair in found if pair not in pairs]
    write_text(PAIRS, json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
