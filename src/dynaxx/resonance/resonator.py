"""From the anchors of all taps to what resonance adds to them, in the mode that is asked for.

    explicit   the dynamics are iterated to their end
    implicit   the student predicts the end in one pass; `direct` likewise, trained on labels alone
    hybrid     explicit in training, where the loop teaches the student; implicit otherwise
    folded     a linear loop, solved once

Shape suffixes: B batch, P positions of the grid, R message channels, S those into output taps, N couplings; Q is 1 or
P.
"""

from collections.abc import Collection, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from dynaxx.config import STUDENT, ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.fixed_point import SolverOptions, solve
from dynaxx.grid import Tap, on_grid
from dynaxx.resonance.anchored import Anchored
from dynaxx.resonance.anchors import Anchors
from dynaxx.resonance.exchange import Exchange
from dynaxx.resonance.gates import GATES, input_of
from dynaxx.resonance.loop import Dynamics
from dynaxx.resonance.output import ResonanceOutput, Trace
from dynaxx.resonance.reentrant import Reentrant, Segment
from dynaxx.resonance.student import Student, distillation_loss


class Resonator(nn.Module):
    """Exchange, gates and student over `taps` of known shape, given in depth order.

    The options decide at construction which parameters exist. Those that may change later (mode, solver, T, tolerance)
    are read from the argument of each call: there is one configuration, and its owner changes it.
    """

    folded: Tensor | None

    def __init__(self, taps: Sequence[Tap], config: ResonanceConfig) -> None:
        super().__init__()
        self.taps, self.causal = tuple(taps), taps[0].causal
        self.exchange = Exchange(taps, config)
        pairs = self.exchange.couplings.pairs
        self.gate = None if config.gate == "none" else GATES[config.gate](self.exchange.channels, pairs)
        self.student: Student | None = None
        self.register_buffer("folded", None, persistent=False)
        if config.mode in STUDENT:
            self.add_student(config)

    def forward(
        self,
        anchors: Anchors,
        config: ResonanceConfig,
        *,
        trace: bool = False,
        segments: Sequence[Segment | None] = (),
        ablated: Collection[int] = (),
        taps: Sequence[int] | None = None,
    ) -> ResonanceOutput:
        """What resonance adds to the output taps.

        Args:
            anchors: finite anchors.
            config: the options as they now are; mode and solver may differ from those at construction.
            trace: record the residuals, at the cost of one more evaluation of F.
            segments: the backbone between the taps, for the reentrant dynamics.
            ablated: numbers of couplings that are switched off.
            taps: numbers of the taps to return deltas of, by default the output taps; others only in explicit mode.

        Raises:
            ResonanceError: a mode that needs a student without one; folded mode before `fold`, or with ablated
                couplings.
        """
        mode, taps = config.mode, self.exchange.outputs if taps is None else taps
        if mode in STUDENT and self.student is None:
            raise ResonanceError(f"mode={mode!r}: this model has no student; call add_student() and distil it")
        y_BPC, present_BN = self.exchange.standardised(anchors)
        p_BPR = self.exchange.read(y_BPC, anchors.grid)
        if present_BN is not None:
            p_BPR = p_BPR * present_BN[:, None].repeat_interleave(self.exchange.couplings.rank, dim=2)
        if mode == "folded":
            return ResonanceOutput(self._fold_applied(p_BPR))
        z_BQC = input_of(self.gate, y_BPC, self.causal, config.token_pool)
        gate_BQN = self._gates(z_BQC, ablated, present_BN)
        gate_BQR = None if gate_BQN is None else gate_BQN.repeat_interleave(self.exchange.couplings.rank, dim=2)
        learning = self.training and torch.is_grad_enabled()
        extra_loss = self.gate.loss(z_BQC) if learning and self.gate is not None else None
        if config.way(self.training) == "student":
            return ResonanceOutput(self._predict(p_BPR, gate_BQR, anchors.grid), extra_loss=extra_loss)

        dynamics: Dynamics
        if config.dynamics == "anchored":
            dynamics = Anchored(self.exchange, p_BPR, gate_BQR, anchors.grid)
        else:

            def pool(x: Tensor, tap: int) -> Tensor:
                return on_grid(x, self.taps[tap], anchors.grid, config.token_pool)

            sweep = config.order == "gauss_seidel"
            dynamics = Reentrant(self.exchange, anchors, p_BPR, gate_BQR, segments, pool, sweep)
        residuals: list[Tensor] | None = [] if trace else None
        states: list[Tensor] | None = [] if self.student is not None and self.training else None
        end = solve(dynamics, SolverOptions.of(config), residuals=residuals, states=states)
        student_loss = None
        if states is not None:
            inputs = [p_BPR, *(dynamics.argument(state) for state in states)]
            target = _side_by_side(dynamics.on_grid(end, self.exchange.outputs))
            predict = partial(self._predict_for_loss, None if gate_BQR is None else gate_BQR.detach(), anchors.grid)
            student_loss = partial(distillation_loss, predict, inputs, target)
            if mode == "hybrid" and learning:
                extra_loss = student_loss(1.0) if extra_loss is None else extra_loss + student_loss(1.0)
        record = None if residuals is None else self._trace(torch.stack(residuals), gate_BQN)
        residual = partial(dynamics.residual_of_first, end)
        return ResonanceOutput(dynamics.deltas(end, taps), residual, record, extra_loss, student_loss)

    def _gates(self, z_BQC: list[Tensor], ablated: Collection[int], present_BN: Tensor | None) -> Tensor | None:
        gate_BQN = None if self.gate is None else self.gate(z_BQC)
        if present_BN is not None:
            present_BQN = present_BN[:, None].to(z_BQC[0].dtype)
            gate_BQN = present_BQN if gate_BQN is None else gate_BQN * present_BQN
        if not ablated:
            return gate_BQN
        kept_N = z_BQC[0].new_ones(len(self.exchange.couplings.pairs))
        kept_N[list(ablated)] = 0.0
        return kept_N.expand(*z_BQC[0].shape[:2], -1) if gate_BQN is None else gate_BQN * kept_N

    def _trace(self, residual: Tensor, gate_BQN: Tensor | None) -> Trace:
        names = self.exchange.names
        pairs = tuple((names[pair.target], names[pair.source]) for pair in self.exchange.couplings.pairs)
        gates = None if gate_BQN is None else gate_BQN.mean(1).detach()
        return Trace(tuple(names[tap] for tap in self.exchange.targets), residual.detach(), gates, pairs)

    def add_student(self, config: ResonanceConfig) -> Student:
        """Make the student, which starts as one undamped step of the loop."""
        exchange = self.exchange
        channels_S = self._into_outputs(torch.arange(len(exchange.couplings.b), device=exchange.couplings.b.device))
        student = Student(exchange.phi, channels_S, config.student_hidden).to(exchange.couplings.b)
        if config.dynamics == "reentrant":
            student.own_writers([exchange.couplings.writer(tap) for tap in exchange.outputs])
        self.student = student
        return student

    def _predict(
        self, p_BPR: Tensor, gate_BQR: Tensor | None, grid: tuple[int, ...], fixed: bool = False
    ) -> list[Tensor]:
        """Δ_l of each output tap, (B, P, C_l), as the student predicts it; `fixed` gives the couplings no gradient."""
        assert self.student is not None
        exchange, outputs = self.exchange, self.exchange.outputs
        gate_BQS = None if gate_BQR is None else self._into_outputs(gate_BQR)
        c_BPS = self.student(p_BPR, self._into_outputs(p_BPR), gate_BQS, grid)
        U = self.student.U if self.student.U is not None else [exchange.couplings.writer(tap) for tap in outputs]
        parts = c_BPS.split([len(matrix) for matrix in U], dim=2)
        fixed = fixed and self.student.U is None
        return [exchange.expand(c, u.detach() if fixed else u, l) for c, u, l in zip(parts, U, outputs, strict=True)]

    def _predict_for_loss(self, gate_BQR: Tensor | None, grid: tuple[int, ...], p_BPR: Tensor) -> Tensor:
        return _side_by_side(self._predict(p_BPR, gate_BQR, grid, fixed=True))

    def _into_outputs(self, x: Tensor) -> Tensor:
        """The channels of messages into output taps alone, (…, S)."""
        parts = [self.exchange.couplings.incoming(x, tap) for tap in self.exchange.outputs]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def fold(self, config: ResonanceConfig) -> None:
        """Solve a linear loop once, for the present parameters; see `fixed_point.fold`."""
        self.folded = self.exchange.fold(config)

    def _fold_applied(self, p_BPR: Tensor) -> list[Tensor]:
        if self.folded is None:
            raise ResonanceError("mode='folded': call fold() first")
        outputs = self.exchange.outputs
        parts = self.folded.split([self.exchange.channels[tap] for tap in outputs], dim=1)
        return [self.exchange.expand(p_BPR, K_RC, tap) for tap, K_RC in zip(outputs, parts, strict=True)]

    def train(self, mode: bool = True) -> "Resonator":
        """Set training mode. Training discards a folded solution; leaving it updates the certificate."""
        if not mode and self.training:
            self.exchange.update_certificate()
        if mode:
            self.folded = None
        return super().train(mode)


def _side_by_side(parts: list[Tensor]) -> Tensor:
    most = max(part.shape[1] for part in parts)
    return parts[0] if len(parts) == 1 else torch.cat([part.expand(-1, most, -1) for part in parts], dim=2)
