"""The anchored dynamics: x_l ← x_l⁰ + s σ_l Σ_k U_lk c_lk. The anchors stay, only messages move.

    F(c) = g φ(p + G c)

Shape suffixes: B batch, P positions of the grid, R message channels; Q is 1 or P.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dynaxx.fixed_point import relative_residual
from dynaxx.grid import Grid
from dynaxx.resonance.exchange import Exchange, gated


class Anchored:
    """The state is the messages c, (B, P, R).

    Args:
        p_BPR: projected anchors.
        gate_BQR: gates, one per message channel; None where all are 1.
        grid: positions.
    """

    def __init__(self, exchange: Exchange, p_BPR: Tensor, gate_BQR: Tensor | None, grid: Grid) -> None:
        self.exchange, self.p_BPR, self.gate_BQR, self.grid = exchange, p_BPR, gate_BQR, grid
        self.Gt, self.response = exchange.feedback_matrix(), exchange.phi.response()  # of parameters alone
        self.first = self._message(p_BPR, gate_BQR)

    def update(self, c_BPR: Tensor) -> Tensor:
        return self._message(self.argument(c_BPR), self.gate_BQR)

    def argument(self, c_BPR: Tensor) -> Tensor:
        return self.exchange.feed_back(self.p_BPR, c_BPR, self.Gt)

    def deltas(self, c_BPR: Tensor, taps: Sequence[int]) -> list[Tensor]:
        return [self.exchange.write(c_BPR, tap) for tap in taps]

    on_grid = deltas

    def residual(self, c_BPR: Tensor, new_BPR: Tensor) -> Tensor:
        write, targets = self.exchange.write, self.exchange.targets
        return torch.stack([relative_residual(write(new_BPR - c_BPR, l), write(new_BPR, l)) for l in targets])

    def residual_of_first(self, c_BPR: Tensor, samples: int) -> Tensor:
        c_BPR, gate = c_BPR[:samples], None if self.gate_BQR is None else self.gate_BQR[:samples]
        argument_BPR = self.exchange.feed_back(self.p_BPR[:samples], c_BPR, self.Gt)
        return self.residual(c_BPR, self._message(argument_BPR, gate))

    def _message(self, argument_BPR: Tensor, gate: Tensor | None) -> Tensor:
        return gated(self.exchange.phi(argument_BPR, self.grid, response=self.response), gate)
