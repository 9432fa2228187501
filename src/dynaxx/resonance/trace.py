"""What a traced forward pass tells."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Trace:
    """The settling of one batch.

    Attributes:
        taps: paths of the taps that receive messages, in depth order.
        residual: (T, taps, B), the relative residual after each iteration; see `loop.relative_residual`.
        gates: (B, couplings) or None where the model has no gate.
        pairs: the couplings as (target, source) paths, in the order of `gates`.
    """

    taps: tuple[str, ...]
    residual: Tensor
    gates: Tensor | None
    pairs: tuple[tuple[str, str], ...]
