"""What both dynamics answer to."""

from abc import ABC, abstractmethod

from torch import Tensor

from dynaxx.fixed_point.iteration import Update
from dynaxx.resonance.hearing import Hearing


class Loop(ABC):
    """One batch's loop: what is iterated (here c, of three axes, samples first), by what, and what comes of it.

    Attributes:
        update: F, undamped.
        first: F(0).
    """

    update: Update
    first: Tensor

    @abstractmethod
    def reads(self, c: Tensor) -> Tensor:
        """What the bottlenecks of all couplings are given at c, (B, P, R)."""

    @abstractmethod
    def written(self, c: Tensor) -> list[Tensor]:
        """Δ_l of each tap that the output reads; see `Agreement.delta`."""

    @abstractmethod
    def on_grid(self, c: Tensor) -> list[Tensor]:
        """The same on the grid, (B, P, C_l)."""

    @abstractmethod
    def residual(self, c: Tensor, new: Tensor) -> Tensor:
        """Relative residual (taps that receive messages, B) at c, given F(c)."""

    @abstractmethod
    def residual_of_first(self, c: Tensor, samples: int) -> Tensor:
        """The same (taps, samples) of the first samples alone, at the cost of one evaluation of F for them."""


def message_update(p_BPR: Tensor, hear: Hearing, gate_BQR: Tensor | None, phi: Update) -> Update:
    """F(c) = g φ(p + G c) as a function of the messages alone."""

    def update(c_BPR: Tensor) -> Tensor:
        message = phi(hear(p_BPR, c_BPR))
        return message if gate_BQR is None else gate_BQR * message

    return update
