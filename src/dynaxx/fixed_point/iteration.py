"""The iteration: a fixed point c = F(c) is sought by damped steps from c = 0.

    c ← (1-λ) c + λ F(c),    λ in (0, 1]

Every sample stops at its own time, so a sample's result does not depend on the other samples of the batch.

Shape suffixes: B batch. States have three axes, samples first.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Update = Callable[[Tensor], Tensor]
"""The undamped right-hand side F."""

Step = Callable[[Tensor, Tensor], Tensor]
"""Function from (c, F(c)) to the next c: one step of a solver."""

Settled = Callable[[Tensor, Tensor], Tensor]
"""Function from (c, F(c)) to (B,) bool: which samples have converged."""

Watch = Callable[[Tensor, Tensor], None]
"""Function that is called with (c, F(c)) and observes the iteration."""


class FixedPoint(Protocol):
    """One batch of fixed-point problems c = F(c), which all start at c = 0.

    Attributes:
        first: value F(0) at the start c = 0.
    """

    first: Tensor

    def update(self, c: Tensor, /) -> Tensor:
        """F(c), undamped."""

    def residual(self, c: Tensor, new: Tensor, /) -> Tensor:
        """Relative residuals (parts, B) of the state's parts at c, given new = F(c)."""


def picard(first: Tensor, damping: float) -> Step:
    """Damped steps, c ← (1-λ) c + λ F(c)."""
    del first
    return lambda c, new: torch.lerp(c, new, damping)


def iterate(
    update: Update,
    first: Tensor,
    T: int,
    damping: float,
    step: Step,
    settled: Settled | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """`T` steps from c = 0, the first one damped by λ, the others by `step`; returns the state c_T.

    >>> first = torch.ones(1, 1, 1)
    >>> float(iterate(lambda c: 0.5 * c + 1, first, T=50, damping=0.9, step=picard(first, 0.9)))
    2.0

    Args:
        update: the function F.
        first: F(0), which is often cheaper to compute than F at other points.
        T: number of steps, at least 1.
        damping: λ of the first step.
        step: function from (c, F(c)) to the next c.
        settled: function from (c, F(c)) to the samples that have converged. A converged sample keeps its state, and the
            iteration ends when all samples have converged. All T steps run in compiled and exported graphs, which have
            a fixed length, and where `watch` needs all steps.
        watch: function called with (c_t, F(c_t)) for t = 1 … T; the last call costs one more evaluation of F.
    """
    c = damping * first
    for _ in range(T - 1):
        new = update(c)
        if watch is not None:
            watch(c, new)
        following = step(c, new)
        if settled is None:
            c = following
            continue
        with torch.no_grad():
            # a converged sample keeps its state, so its residual and its verdict do not change
            done_B = settled(c, new)
        c = torch.where(done_B[:, None, None], c, following)
        if _may_end(done_B, watch):
            return c
    if watch is not None:
        watch(c, update(c))
    return c


def _may_end(done_B: Tensor, watch: Watch | None) -> bool:
    """Whether all samples have converged and the remaining steps can be skipped."""
    return watch is None and not torch.compiler.is_compiling() and bool(done_B.all())


def relative_residual(moved: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """‖F(c) - c‖ / (‖F(c)‖ + ε) per sample, with 0/0 = 0; its gradient is finite where a norm is 0.

    >>> relative_residual(torch.tensor([[3.0], [0.0]]), torch.tensor([[6.0], [0.0]]))
    tensor([0.5000, 0.0000])

    Args:
        moved: F(c) - c, (B, …).
        target: F(c), of the same shape.
    """
    return _norm(moved) / (_norm(target) + eps)


def _norm(x: Tensor) -> Tensor:
    # the root of 0 has no gradient: where the sum is 0 the norm is 0 and so is its gradient
    x = x.float() if x.dtype.itemsize < 4 else x
    square = x.square().flatten(1).sum(1)
    zero = square == 0
    return square.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0)
