"""The reentrant dynamics: the backbone's segments between the taps are run again in every iteration.

    x_l ← f_l(x_<l) + s σ_l Up(Σ_k U_lk c_lk),    c_lk = g_lk φ(V_lkᵀ y_k + b_lk),    y_k = (P x_k - μ_k) / σ_k

The state is the moves Δ_l = x_l - x_l⁰ of all taps, side by side as one vector per sample. In Jacobi order every tap
reads the states of the iteration before. In Gauss-Seidel order it reads the new states of earlier taps. The whole
sweep is damped in both, Δ ← (1-λ) Δ + λ F(Δ), so the solvers of the anchored dynamics serve here, too.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels, N all values of a sample.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dynaxx.fixed_point import relative_residual
from dynaxx.grid import from_grid
from dynaxx.resonance.anchors import Anchors
from dynaxx.resonance.exchange import Exchange, gated

Segment = Callable[[Sequence[Tensor], Sequence[object]], Tensor]
"""f_l: from the states of all taps, and the outside activations that segments read, to tap l."""


class Reentrant:
    """The state is the moves of all taps, (B, 1, N).

    Args:
        anchors: anchors with `states`.
        p_BPR: projected anchors, of which those of sources are used.
        gate_BQR: gates, one per message channel; None where all are 1.
        segments: f_l of every tap; None for a tap that reads no earlier one.
        pool: P of the activation of the tap with this number, (B, P, C).
        sweep: Gauss-Seidel order; otherwise Jacobi.
    """

    def __init__(
        self,
        exchange: Exchange,
        anchors: Anchors,
        p_BPR: Tensor,
        gate_BQR: Tensor | None,
        segments: Sequence[Segment | None],
        pool: Callable[[Tensor, int], Tensor],
        sweep: bool,
    ) -> None:
        assert anchors.states is not None, "the reentrant dynamics need the taps' own states"
        self.exchange, self.gate_BQR, self.segments, self.pool, self.sweep = exchange, gate_BQR, segments, pool, sweep
        self.anchors, self.outside, self.grid = anchors.states, anchors.outside, anchors.grid
        self.parts, read = exchange.couplings.out_of, exchange.couplings.sources
        self.sources = [tap for tap in read if tap < len(self.anchors)]
        self.p_BPR = {k: p_BPR[..., self.parts[k]] for k in read if k >= len(self.anchors)}
        self.constant = {k: self._message(k, p_BPR) for k, p_BPR in self.p_BPR.items()}
        zero = self._pack([torch.zeros_like(x) for x in self.anchors])
        self.first = self.update(zero) if sweep else self._first()

    def update(self, moves_B1N: Tensor) -> Tensor:
        """F: each tap from its segment and the messages into it."""
        states = self._states(moves_B1N)
        messages, moves = self._messages(states), []
        for tap, anchor in enumerate(self.anchors):
            segment, written = self.segments[tap], self._written(tap, messages)
            moves.append(written if segment is None else segment(states, self.outside) - anchor + written)
            if self.sweep and tap < len(self.anchors) - 1:
                states[tap] = anchor + moves[tap]
                messages |= self._messages(states, [tap])
        return self._pack(moves)

    def argument(self, moves_B1N: Tensor) -> Tensor:
        states = self._states(moves_B1N)
        return torch.cat([*(self._argument(tap, states[tap]) for tap in self.sources), *self.p_BPR.values()], dim=2)

    def deltas(self, moves_B1N: Tensor, taps: Sequence[int]) -> list[Tensor]:
        moves = self._unpack(moves_B1N)
        return [moves[tap] for tap in taps]

    def on_grid(self, moves_B1N: Tensor, taps: Sequence[int]) -> list[Tensor]:
        return [self.pool(move, tap) for move, tap in zip(self.deltas(moves_B1N, taps), taps, strict=True)]

    def residual(self, moves_B1N: Tensor, new_B1N: Tensor) -> Tensor:
        targets, moved = self._unpack(new_B1N), self._unpack(new_B1N - moves_B1N)
        return torch.stack([relative_residual(moved[tap], targets[tap]) for tap in self.exchange.targets])

    def residual_of_first(self, moves_B1N: Tensor, samples: int) -> Tensor:
        # what lies outside the taps need not have a sample axis to cut, so all samples are run
        return self.residual(moves_B1N, self.update(moves_B1N))[:, :samples]

    def _argument(self, tap: int, x: Tensor) -> Tensor:
        """V_lkᵀ y_k + b_lk of all couplings out of k = `tap`, (B, P, R_k)."""
        y_BPC = self.exchange.statistics(self.pool(x, tap), tap)
        h_BPR = y_BPC @ self.exchange.couplings.V[tap]
        return (h_BPR + self.exchange.couplings.b[self.parts[tap]].to(h_BPR.dtype)).expand(-1, math.prod(self.grid), -1)

    def _message(self, source: int, argument_BPR: Tensor) -> Tensor:
        """c_lk of all couplings out of k = `source`, (B, P, R_k)."""
        part = self.parts[source]
        gate = None if self.gate_BQR is None else self.gate_BQR[..., part]
        return gated(self.exchange.phi(argument_BPR, self.grid, part), gate)

    def _messages(self, states: Sequence[Tensor], taps: Sequence[int] | None = None) -> dict[int, Tensor]:
        """The messages out of each tap among `taps`, by default of all."""
        read = [tap for tap in self.sources if taps is None or tap in taps]
        return {tap: self._message(tap, self._argument(tap, states[tap])) for tap in read}

    def _first(self) -> Tensor:
        """F(0) in Jacobi order: no segment need run, since f_l of the anchors is the anchor."""
        messages = self._messages(self.anchors)
        return self._pack([self._written(tap, messages) for tap in range(len(self.anchors))])

    def _written(self, tap: int, messages: dict[int, Tensor]) -> Tensor:
        """s σ_l Up(Σ_k U_lk c_lk), in the shape of tap l."""
        like, c_BPR = self.anchors[tap], torch.cat([*messages.values(), *self.constant.values()], dim=2)
        return from_grid(self.exchange.write(c_BPR, tap), self.grid, like).to(like.dtype)

    def _states(self, moves_B1N: Tensor) -> list[Tensor]:
        return [x + move for x, move in zip(self.anchors, self._unpack(moves_B1N), strict=True)]

    def _pack(self, moves: list[Tensor]) -> Tensor:
        return torch.cat([move.flatten(1) for move in moves], dim=1)[:, None]

    def _unpack(self, moves_B1N: Tensor) -> list[Tensor]:
        parts = moves_B1N[:, 0].split([x.shape[1:].numel() for x in self.anchors], dim=1)
        return [part.view_as(x) for part, x in zip(parts, self.anchors, strict=True)]
