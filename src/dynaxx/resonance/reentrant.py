"""The reentrant loop of one batch: the backbone's segments between the taps are run again in every iteration.

    x_l ← f_l(x_<l) + s · σ_l Up(Σ_k U_lk c_lk),    c_lk = g_lk φ(V_lkᵀ y_k + b_lk),    y_k = (P x_k - μ_k) / σ_k

What is iterated are the moves Δ_l = x_l - x_l⁰ of all taps, side by side as one vector a sample. In Jacobi order every
tap reads what all others were in the iteration before; in Gauss-Seidel order it reads what earlier taps have just
become. Damping is of the whole sweep in both, Δ ← (1-λ) Δ + λ F(Δ), so the anchored loop's solvers serve here, too.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels, N all values of a sample.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dynaxx.fixed_point.iteration import relative_residual
from dynaxx.resonance.anchors import Anchors
from dynaxx.resonance.grid import from_grid
from dynaxx.resonance.loop import Loop

if TYPE_CHECKING:
    from dynaxx.resonance.resonator import Engine

Segment = Callable[[Sequence[Tensor], Sequence[object]], Tensor]
"""f_l: from the states of all taps, and what the segments read that no tap changes, to tap l."""


class ReentrantLoop(Loop):
    """What is iterated are the moves of all taps, (B, 1, N).

    Args:
        engine: couplings, φ, strength and statistics.
        anchors: with the taps' states as they stand.
        gate_BQR: gates, a message channel each; None where all are 1.
        segments: f_l of every tap; None for a tap that reads no earlier one.
    """

    def __init__(
        self, engine: "Engine", anchors: Anchors, gate_BQR: Tensor | None, segments: Sequence[Segment | None]
    ) -> None:
        assert anchors.states is not None, "the reentrant loop needs the taps' own states"
        self.engine, self.grid, self.gate_BQR, self.segments = engine, anchors.grid, gate_BQR, segments
        self.anchors, self.outside = anchors.states, anchors.outside
        self.sizes = [x.shape[1:].numel() for x in self.anchors]
        self.update = self._sweep if engine.config.order == "gauss_seidel" else self._step
        self.first = self._first()

    def reads(self, moves_B1N: Tensor) -> Tensor:
        states = self._states(moves_B1N)
        return torch.cat([self._heard(tap, x) for tap, x in enumerate(states) if self._speaks(tap)], dim=2)

    def written(self, moves_B1N: Tensor) -> list[Tensor]:
        moves = self._unpack(moves_B1N)
        return [moves[tap] for tap in self.engine.seen]

    def on_grid(self, moves_B1N: Tensor) -> list[Tensor]:
        return [self.engine.on_grid(move, self.grid) for move in self.written(moves_B1N)]

    def residual(self, moves_B1N: Tensor, new_B1N: Tensor) -> Tensor:
        targets, moved = self._unpack(new_B1N), self._unpack(new_B1N - moves_B1N)
        return torch.stack([relative_residual(moved[tap], targets[tap]) for tap in self.engine.receivers()])

    def residual_of_first(self, moves_B1N: Tensor, samples: int) -> Tensor:
        # what lies outside the taps need not have a sample axis to cut, so all samples are run
        return self.residual(moves_B1N, self.update(moves_B1N))[:, :samples]

    def _first(self) -> Tensor:
        """F(0). In Jacobi order no segment need run: f_l of the anchors is the anchor."""
        if self.engine.config.order == "gauss_seidel":
            return self._sweep(self._pack([torch.zeros_like(x) for x in self.anchors]))
        messages = [self._speak(tap, x) for tap, x in enumerate(self.anchors)]
        return self._pack([self._write(tap, messages) for tap in range(len(self.anchors))])

    def _step(self, moves_B1N: Tensor) -> Tensor:
        """Jacobi: all taps from the same states."""
        states = self._states(moves_B1N)
        messages = [self._speak(tap, x) for tap, x in enumerate(states)]
        return self._pack([self._moved(tap, states, messages) for tap in range(len(states))])

    def _sweep(self, moves_B1N: Tensor) -> Tensor:
        """Gauss-Seidel: each tap from what the earlier ones have just become."""
        states = self._states(moves_B1N)
        messages = [self._speak(tap, x) for tap, x in enumerate(states)]
        moves = []
        for tap, anchor in enumerate(self.anchors):
            moves.append(self._moved(tap, states, messages))
            if tap < self.engine.last:
                states[tap] = anchor + moves[tap]
                messages[tap] = self._speak(tap, states[tap])
        return self._pack(moves)

    def _moved(self, tap: int, states: list[Tensor], messages: list[Tensor | None]) -> Tensor:
        """F_l: how far tap l is moved from its anchor by its segment and by the messages into it."""
        segment, written = self.segments[tap], self._write(tap, messages)
        return written if segment is None else segment(states, self.outside) - self.anchors[tap] + written

    def _write(self, tap: int, messages: list[Tensor | None]) -> Tensor:
        """s σ_l Up(Σ_k U_lk c_lk), in the shape of tap l."""
        engine, heard = self.engine, []
        for number in engine.couplings.into(tap):
            source = engine.couplings.pairs[number].source
            message, first = messages[source], engine.couplings.out_of(source)[0]
            assert message is not None
            heard.append(engine.couplings.gather(message, [number - first]))
        like = self.anchors[tap]
        if not heard:
            return torch.zeros_like(like)
        written_BPC = torch.cat(heard, 2) @ engine.couplings.writes_into(tap)
        return from_grid(engine.scale(tap) * written_BPC, self.grid, like).to(like.dtype)

    def _speak(self, tap: int, x: Tensor) -> Tensor | None:
        """c_lk of all couplings out of k = `tap`, (B, P, R_k)."""
        if not self._speaks(tap):
            return None
        part = self._part(tap)
        message = self.engine.phi(self._heard(tap, x), self.grid, part)
        return message if self.gate_BQR is None else self.gate_BQR[..., part] * message

    def _heard(self, tap: int, x: Tensor) -> Tensor:
        """V_lkᵀ y_k + b_lk of all couplings out of k = `tap`, (B, P, R_k)."""
        engine = self.engine
        y_BPC = engine.statistics(engine.on_grid(x, self.grid), tap)
        h_BPR = y_BPC @ engine.couplings.reads_out_of(tap)
        return h_BPR + engine.couplings.b[self._part(tap)].to(h_BPR.dtype)

    def _speaks(self, tap: int) -> bool:
        return bool(self.engine.couplings.out_of(tap))

    def _part(self, tap: int) -> slice:
        numbers, rank = self.engine.couplings.out_of(tap), self.engine.couplings.rank
        return slice(numbers[0] * rank, (numbers[-1] + 1) * rank)

    def _states(self, moves_B1N: Tensor) -> list[Tensor]:
        return [x + move for x, move in zip(self.anchors, self._unpack(moves_B1N), strict=True)]

    def _pack(self, moves: list[Tensor]) -> Tensor:
        return torch.cat([move.flatten(1) for move in moves], dim=1)[:, None]

    def _unpack(self, moves_B1N: Tensor) -> list[Tensor]:
        parts = moves_B1N[:, 0].split(self.sizes, dim=1)
        return [part.view_as(x) for part, x in zip(parts, self.anchors, strict=True)]
