"""The anchored loop of one batch: x_l ← x_l⁰ + s · σ_l Σ_k U_lk c_lk, iterated on the messages alone.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels; Q is 1 or P.
"""

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dynaxx.fixed_point.iteration import relative_residual
from dynaxx.resonance.bottleneck import Grid
from dynaxx.resonance.loop import Loop, message_update

if TYPE_CHECKING:
    from dynaxx.resonance.resonator import Engine


class AnchoredLoop(Loop):
    """What is iterated are the messages c, (B, P, R).

    Args:
        engine: couplings, φ, strength and statistics.
        p_BPR: projected anchors.
        gate_BQR: gates, a message channel each; None where all are 1.
        grid: the positions.
    """

    def __init__(self, engine: "Engine", p_BPR: Tensor, gate_BQR: Tensor | None, grid: Grid) -> None:
        self.engine, self.p_BPR, self.gate_BQR = engine, p_BPR, gate_BQR
        self.hear = engine.couplings.hearing(engine.feedback_matrix())
        self.phi = partial(engine.phi, grid=grid, response=engine.phi.response())
        self.update = message_update(p_BPR, self.hear, gate_BQR, self.phi)
        self.first = self.phi(p_BPR) if gate_BQR is None else gate_BQR * self.phi(p_BPR)

    def reads(self, c_BPR: Tensor) -> Tensor:
        return self.hear(self.p_BPR, c_BPR)

    def written(self, c_BPR: Tensor) -> list[Tensor]:
        return self.engine.write(self.engine.couplings.gather(c_BPR, self.engine.into_seen()))

    def on_grid(self, c_BPR: Tensor) -> list[Tensor]:
        return self.written(c_BPR)

    def residual(self, c_BPR: Tensor, new_BPR: Tensor) -> Tensor:
        engine = self.engine
        std_C = torch.cat([engine.statistics.std(tap) for tap in range(len(engine.taps))])
        U_RC = engine.strength * std_C * engine.couplings.expansion()
        targets = (new_BPR @ U_RC).split(engine.channels, dim=2)
        moves = ((new_BPR - c_BPR) @ U_RC).split(engine.channels, dim=2)
        return torch.stack([relative_residual(moves[tap], targets[tap]) for tap in engine.receivers()])

    def residual_of_first(self, c_BPR: Tensor, samples: int) -> Tensor:
        gate = None if self.gate_BQR is None else self.gate_BQR[:samples]
        update = message_update(self.p_BPR[:samples], self.hear, gate, self.phi)
        return self.residual(c_BPR[:samples], update(c_BPR[:samples]))
