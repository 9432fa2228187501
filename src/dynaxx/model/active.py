"""The active adapter of a resonant model: what it is, how it runs, and where it is kept."""

import dataclasses
from pathlib import Path

from torch import Tensor

from dynaxx.backbone._linear_head import Head
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.fixed_point.contraction import Stability
from dynaxx.model.adapters import Adapters
from dynaxx.model.saving import write
from dynaxx.resonance.resonator import Engine
from dynaxx.resonance.student import Student


class ActiveAdapter(Adapters):
    """The part of a resonant model that speaks of its active adapter alone."""

    @property
    def config(self) -> ResonanceConfig:
        """The active adapter's options."""
        return self.adapter.config

    @property
    def paths(self) -> tuple[str, ...]:
        """The active adapter's taps, in depth order once they are known."""
        return self.adapter.paths

    @property
    def engine(self) -> Engine | None:
        """The active adapter's couplings, gates, statistics and student; None until the taps' shapes are known."""
        return self.adapter.engine

    @property
    def head(self) -> Head | None:
        """The active adapter's new head, or None where the backbone keeps its own."""
        return self.adapter.head

    @property
    def fallback(self) -> Tensor | None:
        """See above."""
        return self.adapter.fallback

    def built(self) -> Engine:
        """The engine; an error while the shapes of the taps are unknown."""
        return self.adapter.built()

    @property
    def mode(self) -> str:
        """`explicit`, `implicit`, `hybrid` or `folded`; may be set at any time."""
        return self.config.mode

    @mode.setter
    def mode(self, mode: str) -> None:
        config = dataclasses.replace(self.config, mode=mode)
        if mode in ("implicit", "hybrid") and self.engine is not None and self.engine.student is None:
            raise ResonanceError(f"mode={mode!r}: this model has no student; call add_student() and distil it")
        if mode == "folded":
            self.built().fold()  # anew, for the parameters as they now are
        self.adapter.config = config

    @property
    def T(self) -> int:
        """Iterations of the explicit loop; may be set at any time, above or below what was trained with."""
        return self.config.T

    @T.setter
    def T(self, T: int) -> None:
        self.adapter.config = dataclasses.replace(self.config, T=T)

    def add_student(self) -> Student:
        """Make (or make anew) the gating network that the implicit mode runs; it still has to be distilled."""
        return self.built().add_student()

    def fold(self) -> None:
        """Replace a linear loop (`activation="identity"`, no depthwise step, no gate) by its exact fixed point.

        It holds for the parameters as they are; train in explicit mode and fold again. Same as `mode = "folded"`.

        Raises:
            ResonanceError: a loop that is not linear, or that diverges.
        """
        self.mode = "folded"

    def stability(self) -> Stability:
        """κ of the loop, whether contraction is certified, and the iterations that a tolerance needs."""
        return self.built().stability()

    def start_from(self, directory: str | Path) -> None:
        """Start from what another model of the same taps and rank has learned: couplings, φ, gates and statistics.

        So couplings pretrained on a larger set are fine-tuned on a smaller one; head and student stay this model's own.

        Args:
            directory: what that model's `save_pretrained` wrote.

        Raises:
            ResonanceError: a missing or damaged file, or one of other taps or shapes.
        """
        self.adapter.start_from(directory)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the active adapter: couplings, gates, statistics, student and head, never the backbone.

        `load_resonance(base_model, directory)` or `model.load_adapter(directory, name)` reads it back.
        """
        write(Path(directory), *self.adapter.described())
