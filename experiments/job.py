"""One fit of one arm: its settings, its dependencies, and its folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynaxx.evaluation.arms import ARMS, BASELINE, EXPLICIT, IMPLICIT, is_trained

ROOT = Path(".dynaxx/experiments")
"""Default folder of the fits."""
BACKBONE_ARM, CACHE = "world", "cache"
"""Arms that build the backbone of a setting and its feature cache; complete fits on disk have these names."""

PREDICTIONS = "answers.safetensors"
"""File of a fit's predictions for the test images."""

MEMBRANE = "membrane"
"""Name of the setting of the dense task."""


@dataclass(frozen=True)
class Job:
    """The fit of one arm and seed under one condition.

    >>> Job("coarse", "main", "explicit", seed=0).name
    'coarse/main/explicit/seed-0'

    Attributes:
        setting: name of the backbone and its training data.
        condition: name of the changes to params.yaml.
        arm: one of the A/B's arms, "world" for the backbone itself, or "cache" for the features of its taps.
        seed: seed of initialisation, order and labelled subset.
        changes: dotted key of params.yaml → value.
        probes: condition whose baselines initialise new heads; empty: this condition.
        taps: layers to couple instead of those chosen for the setting; empty: those of the setting.
        tested: whether the test images are predicted; tuning jobs never open them.
        corrupted: whether corrupted test images are predicted, too.
        keep: whether a whole network's weights are kept if the arm trains one; adapters always are.
    """

    setting: str
    condition: str
    arm: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    probes: str = ""
    taps: tuple[str, ...] = ()
    tested: bool = True
    corrupted: bool = False
    keep: bool = True

    @property
    def name(self) -> str:
        if self.arm in (BACKBONE_ARM, CACHE):
            return f"{self.setting}/{self.arm}"
        return f"{self.setting}/{self.condition}/{self.arm}/seed-{self.seed}"

    def folder(self, root: Path) -> Path:
        """The folder of the fit below `root`."""
        return root / self.name

    def done(self, root: Path) -> bool:
        """Whether the fit is complete."""
        if self.arm in (BACKBONE_ARM, CACHE):
            return (self.folder(root) / f"{self.arm}.json").exists()
        return is_trained(self.folder(root))

    def needs(self) -> list[str]:
        """Names of the jobs that must be complete first."""
        if self.arm in (BACKBONE_ARM, CACHE):
            return [f"{self.setting}/{BACKBONE_ARM}"] * (self.arm == CACHE)
        probe = f"{self.setting}/{self.probes or self.condition}/{BASELINE}/seed-{self.seed}"
        teacher = f"{self.setting}/{self.condition}/{EXPLICIT}/seed-{self.seed}"
        made = CACHE if ARMS[self.arm].cached and self.setting != MEMBRANE else BACKBONE_ARM
        return [f"{self.setting}/{made}", *[probe] * (self.arm != BASELINE), *[teacher] * (self.arm == IMPLICIT)]
