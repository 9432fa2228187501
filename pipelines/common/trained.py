"""The folders of the trained arms."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.common.stage import OUTPUTS

STAGE = {"baseline": "baseline", "explicit": "explicit", "implicit": "distill"}
"""Which stage trains an arm; the others come from train_arms."""


def trained_arms(seeds: Sequence[int], rivals: Sequence[str]) -> dict[str, dict[int, Path]]:
    """Arm → seed → folder, in the order of the tables."""
    names = ["baseline", *rivals, "explicit", "implicit"]
    return {
        arm: {seed: OUTPUTS / STAGE.get(arm, "train_arms") / arm / f"seed-{seed}" for seed in seeds} for arm in names
    }
