"""What both dynamics provide: a fixed-point problem for one batch, and what its end means for the taps."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from dynaxx.fixed_point import FixedPoint


class Dynamics(FixedPoint, Protocol):
    """One batch. The state c has three axes, samples first; `anchored` and `reentrant` say what it holds."""

    def argument(self, c: Tensor, /) -> Tensor:
        """The argument of φ at c, (B, P, R)."""

    def deltas(self, c: Tensor, taps: Sequence[int], /) -> list[Tensor]:
        """Δ_l of each tap of `taps`: on the grid (anchored), or in the tap's own shape (reentrant); see `from_grid`."""

    def on_grid(self, c: Tensor, taps: Sequence[int], /) -> list[Tensor]:
        """Δ_l of each tap of `taps` on the grid, (B, P, C_l)."""

    def residual_of_first(self, c: Tensor, samples: int, /) -> Tensor:
        """Relative residual (target taps, samples) of the first samples at c."""
