"""The folders of the trained arms."""

from collections.abc import Sequence
from pathlib import Path

from dynaxx.evaluation.arms import ARMS, BASELINE, EXPLICIT, IMPLICIT
from dynaxx.tasks import Kind
from pipelines.common.stage import OUTPUTS


def trained_arm(arm: str, seed: int) -> Path:
    """Folder of one trained arm: that of the stage which trains it."""
    return OUTPUTS / ARMS[arm].stage / arm / f"seed-{seed}"


def trained_arms(kind: Kind, seeds: Sequence[int], rivals: Sequence[str]) -> dict[str, dict[int, Path]]:
    """Arm → seed → folder, in the order of the tables."""
    arms = [arm for arm in (BASELINE, *rivals, EXPLICIT, IMPLICIT) if ARMS[arm].learns(kind)]
    return {arm: {seed: trained_arm(arm, seed) for seed in seeds} for arm in arms}
