"""One fit of one arm: what it is, what it needs first, and where it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BACKBONE_ARM, CACHE = "world", "cache"
UNCACHED = ("baseline", "concat_probe", "lora", "full_finetune")
"""Arms that are not trained from cached features."""

PREDICTIONS = "answers.safetensors"

MEMBRANE = "membrane"
"""The setting of the dense task."""


@dataclass(frozen=True)
class Job:
    """One arm of one seed in one condition.

    Attributes:
        setting: name of the backbone and the data that it was trained on.
        condition: name of what is changed of params.yaml.
        arm: one of the A/B's arms, "world" for the backbone itself, or "cache" for the features of its taps.
        seed: of initialisation, order and labelled subset.
        changes: dotted key of params.yaml → value.
        probes: the condition whose baselines new heads start from; its own if empty.
        taps: layers that are coupled instead of those chosen for the setting; empty keeps these.
        tested: whether the test images are answered; what is tuned never opens them.
        corrupted: whether corrupted test images are answered, too.
        keep: whether the weights of a whole network are kept, for arms that train one; adapters are.
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
        """Where it is kept."""
        return root / self.name

    def done(self, root: Path) -> bool:
        """Whether it is complete."""
        return (self.folder(root) / f"{self.arm if self.arm in (BACKBONE_ARM, CACHE) else 'arm'}.json").exists()

    def needs(self) -> list[str]:
        """Names of the jobs that have to be complete first."""
        if self.arm in (BACKBONE_ARM, CACHE):
            return [f"{self.setting}/{BACKBONE_ARM}"] * (self.arm == CACHE)
        probe = f"{self.setting}/{self.probes or self.condition}/baseline/seed-{self.seed}"
        teacher = f"{self.setting}/{self.condition}/explicit/seed-{self.seed}"
        made = BACKBONE_ARM if self.arm in UNCACHED or self.setting == MEMBRANE else CACHE
        return [f"{self.setting}/{made}", *[probe] * (self.arm != "baseline"), *[teacher] * (self.arm == "implicit")]
