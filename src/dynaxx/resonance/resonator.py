"""From the anchors of all taps to what resonance adds to them: the mathematics of docs/theory.md, put together.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels, S those into taps that the
output reads, N couplings; Q is 1 or P.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from dynaxx.backbone.taps import TapInfo
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.fixed_point.contraction import Stability
from dynaxx.fixed_point.linear import fold
from dynaxx.fixed_point.solve import solve
from dynaxx.resonance.anchored import AnchoredLoop
from dynaxx.resonance.anchors import Anchors, on_grid
from dynaxx.resonance.bottleneck import Bottleneck, Grid
from dynaxx.resonance.couplings import Couplings
from dynaxx.resonance.feedback import Feedback
from dynaxx.resonance.gates import GATES, pooled_for_gates
from dynaxx.resonance.lesson import lesson
from dynaxx.resonance.loop import Loop
from dynaxx.resonance.output import Agreement
from dynaxx.resonance.reentrant import ReentrantLoop, Segment
from dynaxx.resonance.standardise import AnchorStatistics
from dynaxx.resonance.student import Student
from dynaxx.resonance.topology import live_pairs
from dynaxx.resonance.trace import Trace


class Engine(nn.Module):
    """Couplings, gates, statistics and student over taps of known shape, given in depth order.

    Attributes:
        seen: numbers of the taps that something behind the last one reads; the last one always is.
    """

    strength: Tensor
    folded: Tensor | None

    def __init__(self, infos: Sequence[TapInfo], config: ResonanceConfig) -> None:
        super().__init__()
        self.config = config
        self.taps = tuple(info.path for info in infos)
        self.channels = [info.channels for info in infos]
        self.tokens, self.causal = infos[0].tokens, infos[0].causal
        self.prefix = 0 if config.token_pool else infos[0].prefix
        self.last = len(infos) - 1
        self.seen = [tap for tap, info in enumerate(infos) if info.seen or tap == self.last]
        # in Gauss-Seidel order the later taps hear of every change within the sweep that makes it
        at_once = config.dynamics == "reentrant" and config.order == "gauss_seidel"
        pairs = live_pairs(len(infos), config.T, range(len(infos)) if at_once else self.seen)
        self.statistics = AnchorStatistics(self.channels)
        self.couplings = Couplings(self.channels, pairs, config.rank, config.couplings)
        self.phi = Bottleneck(
            len(self.couplings.b), config.activation, bool(config.depthwise), self.tokens, self.prefix
        )
        self.gate = None if config.gate == "none" else GATES[config.gate](self.channels, pairs)
        self.feedback = Feedback(config, self.couplings)
        self.register_buffer("strength", torch.tensor(float(config.strength)))
        self.register_buffer("folded", None, persistent=False)
        self._silenced: frozenset[int] = frozenset()
        self.student: Student | None = None
        if config.mode in ("implicit", "hybrid"):
            self.add_student()

    def add_student(self) -> Student:
        """Make the gating network of the implicit mode, starting as one undamped step of the loop."""
        channels = self.couplings.channels_of(self.into_seen())
        student = Student(
            len(self.couplings.b),
            len(channels),
            self.config.student_hidden,
            self.config.activation,
            bool(self.config.depthwise),
            self.tokens,
            self.prefix,
        )
        student.start_from(self.phi, torch.tensor(channels))
        if self.config.dynamics == "reentrant":
            student.write_itself([self.couplings.writes_into(tap) for tap in self.seen])
        self.student = student.to(self.couplings.b)
        return student

    def fold(self) -> None:
        """Solve a linear loop once, for the parameters as they now are; see `fold.fold`."""
        U_RC = torch.cat([self.couplings.expansion().split(self.channels, dim=1)[tap] for tap in self.seen], dim=1)
        self.folded = fold(self.feedback_matrix(), U_RC, self.config)

    def forward(
        self,
        anchors: Anchors,
        mode: str,
        T: int,
        trace: bool = False,
        segments: Sequence[Segment | None] = (),
    ) -> Agreement:
        """Let the taps agree.

        Args:
            anchors: finite.
            mode: `explicit`, `implicit`, `folded`, or `hybrid`: explicit in training mode and implicit otherwise.
            T: iterations of the explicit loop.
            trace: record the residuals; costs one more evaluation of the loop's right-hand side.
            segments: what lies between the taps, for the reentrant dynamics.

        Raises:
            ResonanceError: a mode that needs a student without one, or folded mode before `fold`.
        """
        if mode in ("implicit", "hybrid") and self.student is None:
            raise ResonanceError(f"mode={mode!r}: this model has no student; call add_student() and distil it")
        y_BPC = [self.statistics(anchor, tap) for tap, anchor in enumerate(anchors.pooled)]
        p_BPR = self.couplings.project(y_BPC)
        if mode == "folded":
            return Agreement(self._folded(p_BPR))
        z_BQC = pooled_for_gates(y_BPC, self.causal, self.config.token_pool)
        gate_BQN = self._gates(z_BQC)
        gate_BQR = None if gate_BQN is None else gate_BQN.repeat_interleave(self.couplings.rank, dim=2)
        learning = self.training and torch.is_grad_enabled()
        auxiliary = self.gate.loss(z_BQC) if learning and self.gate is not None else None
        if mode == "implicit" or (mode == "hybrid" and not self.training):
            return Agreement(self._predict(p_BPR, gate_BQR, anchors.grid), auxiliary=auxiliary)

        loop: Loop
        if self.config.dynamics == "reentrant":
            loop = ReentrantLoop(self, anchors, gate_BQR, segments)
        else:
            loop = AnchoredLoop(self, p_BPR, gate_BQR, anchors.grid)
        residuals: list[Tensor] | None = [] if trace else None
        states: list[Tensor] | None = [] if self.student is not None and self.training else None
        end = solve(loop, T, self.config, residuals=residuals, states=states)
        teach = None
        if states is not None:
            gate = None if gate_BQR is None else gate_BQR.detach()
            inputs = [p_BPR, *(loop.reads(state) for state in states)]
            teach = partial(
                lesson, partial(self._student_writes, gate, anchors.grid), inputs, _joined(loop.on_grid(end))
            )
        if mode == "hybrid" and teach is not None and torch.is_grad_enabled():
            auxiliary = teach(1.0) if auxiliary is None else auxiliary + teach(1.0)
        record = None
        if residuals is not None:
            record = self._trace(torch.stack(residuals), None if gate_BQN is None else gate_BQN.mean(1))
        return Agreement(loop.written(end), partial(loop.residual_of_first, end), record, auxiliary, teach)

    # ---- what is written ------------------------------------------------------------------------------------------

    def into_seen(self) -> list[int]:
        """Numbers of the couplings into taps that the output reads, by tap."""
        return [number for tap in self.seen for number in self.couplings.into(tap)]

    def scale(self, tap: int) -> Tensor:
        """s σ_l, the units of what is written at a tap, (C_l,)."""
        return self.strength * self.statistics.std(tap)

    def write(self, c_BPS: Tensor) -> list[Tensor]:
        """s σ_l Σ_k U_lk c_lk of each tap that the output reads, (B, P, C_l), from the messages into these."""
        return self._expanded(c_BPS, [self.couplings.writes_into(tap) for tap in self.seen])

    def _expanded(self, c_BPS: Tensor, U: Sequence[Tensor]) -> list[Tensor]:
        parts = c_BPS.split([len(matrix) for matrix in U], dim=2)
        return [self._product(c, self.scale(tap) * matrix) for tap, c, matrix in zip(self.seen, parts, U, strict=True)]

    def _product(self, c_BPS: Tensor, U_SC: Tensor) -> Tensor:
        """c U, (B, P, C), in memory as the tap is that it will be added to: a map's positions lie side by side."""
        if self.tokens:
            return c_BPS @ U_SC
        return (U_SC.T @ c_BPS.flatten(0, 1).T).unflatten(1, c_BPS.shape[:2]).permute(1, 2, 0)

    def _folded(self, p_BPR: Tensor) -> list[Tensor]:
        if self.folded is None:
            raise ResonanceError("mode='folded': call fold() first")
        parts = self.folded.split([self.channels[tap] for tap in self.seen], dim=1)
        return [self._product(p_BPR, self.scale(tap) * K_RC) for tap, K_RC in zip(self.seen, parts, strict=True)]

    def _predict(self, p_BPR: Tensor, gate_BQR: Tensor | None, grid: Grid, learning: bool = False) -> list[Tensor]:
        """What the student writes at each tap that the output reads, (B, P, C_l).

        Args:
            learning: from a lesson, which moves nothing of the loop's.
        """
        assert self.student is not None
        into = self.into_seen()
        gate_BQS = None if gate_BQR is None else self.couplings.gather(gate_BQR, into)
        c_BPS = self.student(p_BPR, self.couplings.gather(p_BPR, into), gate_BQS, grid)
        if self.student.U is not None:
            return self._expanded(c_BPS, list(self.student.U))
        U = [self.couplings.writes_into(tap) for tap in self.seen]
        return self._expanded(c_BPS, [matrix.detach() for matrix in U] if learning else U)

    def _student_writes(self, gate_BQR: Tensor | None, grid: Grid, p_BPR: Tensor) -> Tensor:
        """The same side by side, for its lesson."""
        return _joined(self._predict(p_BPR, gate_BQR, grid, learning=True))

    # ---- stability ------------------------------------------------------------------------------------------------

    def feedback_matrix(self) -> Tensor:
        """Gᵀ (R, R) as it stands; see `feedback`."""
        Gt_RR: Tensor = self.feedback(self.couplings, self.phi, self.strength)
        return Gt_RR

    def settle(self) -> None:
        """Bring the certified gain up to the parameters as they now are, for passes without gradients."""
        self.feedback.settle(self.couplings, self.phi, self.strength)

    def stability(self) -> Stability:
        """κ of the loop as its parameters stand.

        Raises:
            ResonanceError: the reentrant dynamics, where the backbone's own segments are part of the loop.
        """
        if self.config.dynamics == "reentrant":
            raise ResonanceError(
                "stability(): no bound is known for dynamics='reentrant', whose loop runs through the backbone; "
                "watch the residual with tracing(), or calibrate"
            )
        return self.feedback.stability(self.couplings, self.phi, self.strength)

    def train(self, mode: bool = True) -> "Engine":
        """As in torch; leaving training mode also settles the certified gain for the parameters as they now are."""
        if not mode and self.training:
            self.settle()
        if mode:
            self.folded = None  # what training moves is folded no longer
        return super().train(mode)

    # ---- gates and trace ------------------------------------------------------------------------------------------

    @contextmanager
    def silenced(self, couplings: list[int]) -> Iterator[None]:
        """Within the block the couplings of these numbers say nothing."""
        before = self._silenced
        self._silenced = before | frozenset(couplings)
        try:
            yield
        finally:
            self._silenced = before

    def _gates(self, z_BQC: list[Tensor]) -> Tensor | None:
        gate_BQN = None if self.gate is None else self.gate(z_BQC)
        if not self._silenced:
            return gate_BQN
        audible_N = z_BQC[0].new_ones(len(self.couplings.pairs))
        audible_N[list(self._silenced)] = 0.0
        return audible_N.expand(*z_BQC[0].shape[:2], -1) if gate_BQN is None else gate_BQN * audible_N

    def receivers(self) -> list[int]:
        """Numbers of the taps that some coupling speaks to."""
        return [tap for tap in range(len(self.taps)) if self.couplings.into(tap)]

    def on_grid(self, x: Tensor, grid: Grid) -> Tensor:
        """P x of one tap's activation, (B, P, C)."""
        return on_grid(x, grid, self.config.token_pool, self.causal)

    def _trace(self, residual: Tensor, gates: Tensor | None) -> Trace:
        named = tuple((self.taps[pair.target], self.taps[pair.source]) for pair in self.couplings.pairs)
        return Trace(
            taps=tuple(self.taps[tap] for tap in self.receivers()),
            residual=residual.detach(),
            gates=None if gates is None else gates.detach(),
            pairs=named,
        )


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
