"""From the anchors of all taps to what resonance adds at the last one: the mathematics of DESIGN §2, put together.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels, S those into the last tap.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from dynaxx.resonance.agreement import Agreement
from dynaxx.resonance.bottleneck import Bottleneck, Grid
from dynaxx.resonance.config import ResonanceConfig
from dynaxx.resonance.couplings import Couplings
from dynaxx.resonance.errors import ResonanceError
from dynaxx.resonance.fold import fold
from dynaxx.resonance.gates import G_MAX, GATES
from dynaxx.resonance.lesson import lesson
from dynaxx.resonance.loop import message_update, relative_residual
from dynaxx.resonance.solve import solve
from dynaxx.resonance.stability import Stability, contraction_bound, stability_of
from dynaxx.resonance.statistics import AnchorStatistics
from dynaxx.resonance.student import Student
from dynaxx.resonance.tokens import running_mean
from dynaxx.resonance.topology import live_pairs
from dynaxx.resonance.trace import Trace


class Engine(nn.Module):
    """Couplings, gates, statistics and student over taps of known channels, in depth order."""

    strength: Tensor
    certified_gain: Tensor
    folded: Tensor | None

    def __init__(
        self,
        taps: tuple[str, ...],
        channels: list[int],
        tokens: bool,
        config: ResonanceConfig,
        causal: bool = False,
        prefix: int = 0,
    ) -> None:
        super().__init__()
        self.taps, self.channels, self.tokens, self.config = taps, channels, tokens, config
        self.causal, self.prefix = causal, prefix
        pairs = live_pairs(len(taps), config.T)
        self.statistics = AnchorStatistics(channels)
        self.couplings = Couplings(channels, pairs, config.rank, config.couplings)
        self.phi = Bottleneck(len(self.couplings.b), config.activation, bool(config.depthwise), tokens, prefix)
        self.gate = None if config.gate == "none" else GATES[config.gate](channels, pairs)
        self.register_buffer("strength", torch.tensor(float(config.strength)))
        self.register_buffer("certified_gain", torch.tensor(1.0))
        self.register_buffer("folded", None, persistent=False)
        self._silenced: frozenset[int] = frozenset()
        self.student: Student | None = None
        if config.mode in ("implicit", "hybrid"):
            self.add_student()

    @property
    def last(self) -> int:
        return len(self.taps) - 1

    def add_student(self) -> Student:
        """Make the gating network of the implicit mode, starting as one undamped step of the loop."""
        messages, rank = len(self.couplings.b), self.couplings.rank
        into = self.couplings.into(self.last)
        student = Student(
            messages,
            len(into) * rank,
            self.config.student_hidden,
            self.config.activation,
            bool(self.config.depthwise),
            self.tokens,
            self.prefix,
        )
        student.start_from(self.phi, torch.cat([torch.arange(n * rank, (n + 1) * rank) for n in into]))
        self.student = student.to(self.couplings.b)
        return student

    def fold(self) -> None:
        """Solve a linear loop once, for the parameters as they now are; see `fold.fold`."""
        U_RC = self.couplings.expansion()[:, -self.channels[-1] :]
        self.folded = fold(self.feedback_matrix(), U_RC, self.config)

    def forward(self, anchors_BPC: list[Tensor], grid: Grid, mode: str, T: int, trace: bool = False) -> Agreement:
        """Let the taps agree.

        Args:
            anchors_BPC: P x_l⁰ of each tap, (B, P, C_l), finite.
            grid: the positions, (h, w) or (tokens,).
            mode: `explicit`, `implicit`, `folded`, or `hybrid`: explicit in training mode and implicit otherwise.
            T: iterations of the explicit loop.
            trace: record the residuals; costs one more evaluation of the loop's right-hand side.

        Raises:
            ResonanceError: a mode that needs a student without one, or folded mode before `fold`.
        """
        if mode in ("implicit", "hybrid") and self.student is None:
            raise ResonanceError(f"mode={mode!r}: this model has no student; call add_student() and distil it")
        y_BPC = [self.statistics(anchor, tap) for tap, anchor in enumerate(anchors_BPC)]
        p_BPR = self.couplings.project(y_BPC)
        z_BQC = self._pooled(y_BPC)
        gate_BQN = self._gates(z_BQC)
        gate_BQR = None if gate_BQN is None else gate_BQN.repeat_interleave(self.couplings.rank, dim=2)
        record: Trace | None = None
        residual = None
        teach: Callable[[float], Tensor] | None = None
        if mode == "folded":
            if self.folded is None:
                raise ResonanceError("mode='folded': call fold() first")
            return Agreement(self.strength * self.statistics.std(self.last) * (p_BPR @ self.folded), None, None)
        if mode == "implicit" or (mode == "hybrid" and not self.training):
            c_last_BPS = self._predict(p_BPR, gate_BQR, grid)
        else:
            Gt_RR, phi = self.feedback_matrix(), partial(self.phi, grid=grid)
            update = message_update(p_BPR, Gt_RR, gate_BQR, phi)
            first = phi(p_BPR) if gate_BQR is None else gate_BQR * phi(p_BPR)
            residuals: list[Tensor] | None = [] if trace else None
            states: list[Tensor] | None = [] if self.student is not None and self.training else None
            c_BPR = solve(update, first, T, self.config, self.residual, residuals=residuals, states=states)
            c_last_BPS = self.couplings.gather(c_BPR, self.last)

            def residual(samples: int) -> Tensor:
                gate = None if gate_BQR is None else gate_BQR[:samples]
                again = message_update(p_BPR[:samples], Gt_RR, gate, phi)
                return self.residual(c_BPR[:samples], again(c_BPR[:samples]))

            if states is not None:
                inputs = [p_BPR, *(p_BPR + c @ Gt_RR for c in states)]
                W_SC = self.statistics.std(self.last) * self.couplings.writes_into(self.last)
                predict = partial(self._predict, gate_BQR=None if gate_BQR is None else gate_BQR.detach(), grid=grid)
                teach = partial(lesson, predict, inputs, c_last_BPS, W_SC)
            if residuals is not None:
                record = self._trace(torch.stack(residuals), None if gate_BQN is None else gate_BQN.mean(1))
        delta_BPC = self.strength * self.statistics.std(self.last) * self.couplings.expand(c_last_BPS, self.last)
        learning = self.gate is not None and self.training and torch.is_grad_enabled()
        auxiliary = self.gate.loss(z_BQC) if learning and self.gate is not None else None
        if mode == "hybrid" and teach is not None and torch.is_grad_enabled():
            auxiliary = teach(1.0) if auxiliary is None else auxiliary + teach(1.0)
        return Agreement(delta_BPC, residual, record, auxiliary, teach)

    def _predict(self, p_BPR: Tensor, gate_BQR: Tensor | None, grid: Grid) -> Tensor:
        """The student's messages into the last tap, (B, P, S)."""
        assert self.student is not None
        gate_last = None if gate_BQR is None else self.couplings.gather(gate_BQR, self.last)
        predicted: Tensor = self.student(p_BPR, self.couplings.gather(p_BPR, self.last), gate_last, grid)
        return predicted

    def feedback_matrix(self) -> Tensor:
        """Gᵀ (R, R) as it stands: α s times the couplings' own product, cut further where κ is to be certified."""
        Gt_RR = self.couplings.feedback(self.config.feedback * self.strength)
        if self.config.stability != "certified":
            return Gt_RR
        # a loop that may be trained is certified in every pass, whatever mode its user left it in
        return Gt_RR * (self._certify(Gt_RR) if self.training or torch.is_grad_enabled() else self.certified_gain)

    def _certify(self, Gt_RR: Tensor) -> Tensor:
        """The factor min(1, κ_max / κ), kept for inference, where the parameters stand still."""
        kappa = contraction_bound(Gt_RR.double(), self._stretch())
        gain = (self.config.kappa_max / kappa.clamp_min(self.config.kappa_max)).to(Gt_RR)
        self.certified_gain.copy_(gain.detach())
        return gain

    @torch.no_grad()
    def settle(self) -> None:
        """Bring the certified gain up to the parameters as they now are, for passes without gradients."""
        if self.config.stability == "certified":
            self._certify(self.couplings.feedback(self.config.feedback * self.strength))

    def train(self, mode: bool = True) -> "Engine":
        """As in torch; leaving training mode also settles the certified gain for the parameters as they now are."""
        if not mode and self.training:
            self.settle()
        if mode:
            self.folded = None  # what training moves is folded no longer
        return super().train(mode)

    def residual(self, c_BPR: Tensor, new_BPR: Tensor) -> Tensor:
        """Relative residual (taps that receive messages, B) at the messages c, given F(c)."""
        std_C = torch.cat([self.statistics.std(tap) for tap in range(len(self.taps))])
        U_RC = self.strength * std_C * self.couplings.expansion()
        targets = (new_BPR @ U_RC).split(self.channels, dim=2)
        moves = ((new_BPR - c_BPR) @ U_RC).split(self.channels, dim=2)
        return torch.stack([relative_residual(moves[tap], targets[tap]) for tap in self.receivers()])

    def stability(self) -> Stability:
        """κ of the loop as its parameters stand; see `stability`."""
        return stability_of(self.feedback_matrix(), self._stretch(), self.config.damping)

    def _stretch(self) -> Tensor | float:
        return G_MAX[self.config.gate] * self.phi.stretch()

    @contextmanager
    def silenced(self, couplings: list[int]) -> Iterator[None]:
        """Within the block the couplings of these numbers say nothing."""
        before = self._silenced
        self._silenced = before | frozenset(couplings)
        try:
            yield
        finally:
            self._silenced = before

    def _pooled(self, y_BPC: list[Tensor]) -> list[Tensor]:
        """What gates may look at: the mean over all positions (B, 1, C), or up to each of them (B, P, C) if causal."""
        if not self.causal:
            return [y.mean(1, keepdim=True) for y in y_BPC]
        return y_BPC if self.config.token_pool else [running_mean(y) for y in y_BPC]

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

    def _trace(self, residual: Tensor, gates: Tensor | None) -> Trace:
        named = tuple((self.taps[pair.target], self.taps[pair.source]) for pair in self.couplings.pairs)
        return Trace(
            taps=tuple(self.taps[tap] for tap in self.receivers()),
            residual=residual.detach(),
            gates=None if gates is None else gates.detach(),
            pairs=named,
        )
