"""One fit of one arm: what it is, what it needs first, and where it is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynaxx.evaluation.arms import ARMS, BASELINE, EXPLICIT, IMPLICIT, is_trained

WORLD, CACHE = "world", "cache"

ANSWERS = "answers.safetensors"

MEMBRANE = "membrane"
"""The world of the dense task."""


@dataclass(frozen=True)
class Job:
    """One arm of one seed in one regime.

    Attributes:
        world: name of the backbone and the data that it was trained on.
        regime: name of what is changed of params.yaml.
        arm: one of the A/B's arms, "world" for the backbone itself, or "cache" for the features of its taps.
        seed: of initialisation, order and labelled subset.
        changes: dotted key of params.yaml → value.
        probes: the regime whose baselines new heads start from; its own if empty.
        taps: layers that are coupled instead of those chosen for the world; empty keeps these.
        tested: whether the test images are answered; what is tuned never opens them.
        corrupted: whether corrupted test images are answered, too.
        keep: whether the weights of a whole network are kept, for arms that train one; adapters are.
    """

    world: str
    regime: str
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
        if self.arm in (WORLD, CACHE):
            return f"{self.world}/{self.arm}"
        return f"{self.world}/{self.regime}/{self.arm}/seed-{self.seed}"

    def folder(self, root: Path) -> Path:
        """Where it is kept."""
        return root / self.name

    def done(self, root: Path) -> bool:
        """Whether it is complete."""
        if self.arm in (WORLD, CACHE):
            return (self.folder(root) / f"{self.arm}.json").exists()
        return is_trained(self.folder(root))

    def needs(self) -> list[str]:
        """Names of the jobs that have to be complete first."""
        if self.arm in (WORLD, CACHE):
            return [f"{self.world}/{WORLD}"] * (self.arm == CACHE)
        probe = f"{self.world}/{self.probes or self.regime}/{BASELINE}/seed-{self.seed}"
        teacher = f"{self.world}/{self.regime}/{EXPLICIT}/seed-{self.seed}"
        made = CACHE if ARMS[self.arm].cached and self.world != MEMBRANE else WORLD
        return [f"{self.world}/{made}", *[probe] * (self.arm != BASELINE), *[teacher] * (self.arm == IMPLICIT)]
