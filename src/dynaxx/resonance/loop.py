"""The loop itself: a fixed point is sought by damped steps from zero.

    c ← (1-λ) c + λ F(c);    anchored, in message space:  F(c) = g φ(p + G c),   p = Vᵀ y⁰ + b

The anchored loop touches no full activations: an iteration costs O(r²) a position, not O(C r). That this equals the
loop over full-channel states is exact algebra (DESIGN §2), and tests/resonance/naive.py holds it to that.

Shape suffixes: B batch, P positions of the grid, R message channels; Q is 1 or P.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from dynaxx.resonance.hearing import Hearing

Update = Callable[[Tensor], Tensor]
"""The undamped right-hand side F(c) = g φ(p + G c)."""

Step = Callable[[Tensor, Tensor], Tensor]
"""From (c, F(c)) to the next c."""

Settled = Callable[[Tensor, Tensor], Tensor]
"""From (c, F(c)) to (B,) bool."""

Watch = Callable[[Tensor, Tensor], None]


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


def picard(first_BPR: Tensor, damping: float) -> Step:
    """Damped steps, c ← (1-λ) c + λ F(c)."""
    del first_BPR
    return lambda c_BPR, new_BPR: torch.lerp(c_BPR, new_BPR, damping)


def iterate(
    update: Update,
    first_BPR: Tensor,
    T: int,
    damping: float,
    step: Step,
    settled: Settled | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """`T` steps from c = 0, of which the first is damped; returns the messages c_T.

    Args:
        update: F.
        first_BPR: F(0), which needs no product with G.
        step: from (c, F(c)) to the next c.
        settled: says of (c, F(c)) which samples have settled; those stand still from then on, and the loop ends when
            all have. It runs all T steps where its course is fixed (compiled and exported graphs) or watched.
        watch: called with (c_t, F(c_t)) for t = 1 … T; the last call costs one more evaluation of F.
    """
    c_BPR = damping * first_BPR
    for _ in range(T - 1):
        new_BPR = update(c_BPR)
        if watch is not None:
            watch(c_BPR, new_BPR)
        next_BPR = step(c_BPR, new_BPR)
        if settled is None:
            c_BPR = next_BPR
            continue
        with torch.no_grad():
            done_B = settled(c_BPR, new_BPR)  # who stands still is asked the same again, and answers the same
        c_BPR = torch.where(done_B[:, None, None], c_BPR, next_BPR)
        if _may_end(done_B, watch):
            return c_BPR
    if watch is not None:
        watch(c_BPR, update(c_BPR))
    return c_BPR


def _may_end(done_B: Tensor, watch: Watch | None) -> bool:
    """Whether all samples have settled, and nothing needs the steps that are left."""
    return watch is None and not torch.compiler.is_compiling() and bool(done_B.all())


def relative_residual(moved: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """‖F_l(Δ) - Δ_l‖ / (‖F_l(Δ)‖ + ε) per sample, 0/0 = 0 (DESIGN §2); safe to differentiate where a norm is 0.

    Args:
        moved: F_l(Δ) - Δ_l, (B, …).
        target: F_l(Δ).
    """
    return _norm(moved) / (_norm(target) + eps)


def _norm(x: Tensor) -> Tensor:
    # the root of 0 has no gradient: where the sum is 0 the norm is 0 and so is its gradient
    x = x.float() if x.dtype.itemsize < 4 else x
    square = x.square().flatten(1).sum(1)
    zero = square == 0
    return square.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)
