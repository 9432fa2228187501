"""The formula in message space: taps are read into messages, messages change each other and are written to the taps.

    read       p_lk = V_lkᵀ y_k⁰ + b_lk
    message    F_lk(c) = g_lk φ(p_lk + (G c)_lk),    G_(lk)(kj) = α s V_lkᵀ U_kj
    write      Δ_l = s σ_l Σ_k U_lk c_lk

`anchored.Anchored.update` is F, and `fixed_point.iterate` runs c ← (1-λ) c + λ F(c). Substituting y_k into the message
gives G, so no full activation is touched in between: an iteration costs O(r²) per position instead of O(C r). Messages
into a point (a tap without positions) count as their mean over positions. A source has p and messages like a tap, and
no messages into it. `reference` computes the same on full activations.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels, S those into a tap.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynaxx.config import LINEAR, ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.fixed_point import Certificate, Stability, fold, stability_of
from dynaxx.grid import Grid, Standardise, Tap
from dynaxx.resonance.anchors import Anchors, only
from dynaxx.resonance.bottleneck import Bottleneck
from dynaxx.resonance.couplings import Couplings, live_pairs
from dynaxx.resonance.gates import G_MAX


class Exchange(nn.Module):
    """Couplings, bottleneck, statistics and strength over `taps` of known shape, given in depth order, and sources.

    Attributes:
        names: paths of the taps, then names of the sources; `channels` are theirs.
        sources: channels of the sources by name.
        pruned: how many couplings would take effect in later iterations alone, and do not exist.
        points: numbers of the taps without positions beside others that have them.
        outputs: numbers of the taps that the rest of the network reads; the last tap is always one.
        targets: numbers of the taps that receive messages.
        alpha: α, the gain of the feedback.
    """

    strength: Tensor

    def __init__(self, taps: Sequence[Tap], config: ResonanceConfig) -> None:
        super().__init__()
        self.sources = dict(config.sources)
        self.names = (*(tap.path for tap in taps), *config.sources)
        self.channels = [*(tap.channels for tap in taps), *config.sources.values()]
        self.dims, self.alpha, self.g_max = max(tap.dims for tap in taps), config.feedback, G_MAX[config.gate]
        self.prefix = 0 if config.token_pool or self.dims else max(tap.prefix for tap in taps)
        self.points = [number for number, tap in enumerate(taps) if tap.point and not config.token_pool]
        self.points = self.points if len(self.points) < len(taps) else []
        self.outputs = [number for number, tap in enumerate(taps) if tap.output or number == len(taps) - 1]
        # in a Gauss-Seidel sweep later taps read a change in the iteration that makes it
        sweep = (config.dynamics, config.order) == ("reentrant", "gauss_seidel")
        pairs = live_pairs(len(taps), config.T, range(len(taps)) if sweep else self.outputs, len(config.sources))
        self.pruned = len(taps) * (len(self.channels) - 1) - len(pairs)
        pairs = [] if config.mode in LINEAR else pairs
        self.statistics = Standardise(self.channels)
        self.couplings = Couplings(self.channels, pairs, config.rank, config.couplings)
        self.targets = self.couplings.targets
        channels = len(self.couplings.b)
        self.phi = Bottleneck(channels, config.activation, bool(config.depthwise), self.dims, self.prefix)
        self.certificate: Certificate | None = None
        if config.stability == "certified":
            self.certificate = Certificate(*self.couplings.dependences(), config.kappa_max)
            self.register_buffer("returns", self._returns(), persistent=False)
        into_point = torch.tensor([pair.target in self.points for pair in pairs], dtype=torch.bool)
        into_point = into_point.repeat_interleave(self.couplings.rank)
        self.register_buffer("into_point", into_point, persistent=False)
        self.register_buffer("strength", torch.tensor(float(config.strength)))

    def standardised(self, anchors: Anchors) -> tuple[list[Tensor], Tensor | None]:
        """y_k⁰ of every tap and source, and whether each coupling has its source, (B, N); None if all have.

        A source counts as zeros in the samples that lack it.
        """
        sources = [anchors.sources[name] for name in self.sources]
        y_BPC = self.standardise([*anchors.pooled, *(source.x_BPC for source in sources)])
        absent = {k: present for k, (_, present) in enumerate(sources, len(anchors.pooled)) if present is not None}
        if not absent:
            return y_BPC, None
        every_B = torch.ones_like(next(iter(absent.values())))
        present_BN = torch.stack([absent.get(pair.source, every_B) for pair in self.couplings.pairs], dim=1)
        return [only(y, absent[k]) if k in absent else y for k, y in enumerate(y_BPC)], present_BN

    def standardise(self, pooled: Sequence[Tensor]) -> list[Tensor]:
        """y_k⁰ of every tap and source, (B, P, C_k)."""
        return [self.statistics(x_BPC, tap) for tap, x_BPC in enumerate(pooled)]

    def read(self, y_BPC: list[Tensor], grid: Grid | None = None) -> Tensor:
        """p of every coupling, (B, P, R); `grid` is needed where a point or a source may have one position."""
        return self.couplings.project(y_BPC, None if grid is None else math.prod(grid))

    def feed_back(self, p_BPR: Tensor, c_BPR: Tensor, Gt: Tensor) -> Tensor:
        """p + G c, where the messages into points are averaged over positions."""
        if self.points:
            c_BPR = torch.where(self.get_buffer("into_point"), c_BPR.mean(1, keepdim=True), c_BPR)
        return self.couplings.feed_back(p_BPR, c_BPR, Gt)

    def write(self, c_BPR: Tensor, tap: int) -> Tensor:
        """Δ_l of l = `tap` on the grid, (B, P, C_l), or (B, 1, C_l) of a point."""
        return self.expand(self.couplings.incoming(c_BPR, tap), self.couplings.writer(tap), tap)

    def expand(self, c_BPS: Tensor, U_SC: Tensor, tap: int) -> Tensor:
        """s σ_l c U, (B, P, C_l), in the memory layout of the tap: a map's positions lie side by side."""
        c_BPS = c_BPS.mean(1, keepdim=True) if tap in self.points else c_BPS
        U_SC = self.strength * self.statistics.std(tap) * U_SC
        if not self.dims:
            return c_BPS @ U_SC
        return (U_SC.T @ c_BPS.flatten(0, 1).T).unflatten(1, c_BPS.shape[:2]).permute(1, 2, 0)

    # ---- feedback and its bound -------------------------------------------------------------------------------------

    def feedback_matrix(self) -> Tensor:
        """Gᵀ in the form of `Couplings.assemble`, scaled down where the loop is certified."""
        Gt = self.couplings.feedback_matrix(self.alpha * self.strength)
        if self.certificate is None:
            return Gt
        scale, share = self.certificate(self.couplings.dense(Gt), self._lipschitz())
        return Gt * torch.where(self.get_buffer("returns"), scale * share, scale)

    @torch.no_grad()
    def update_certificate(self) -> None:
        """Bring the certificate up to the present parameters, for passes without gradients."""
        if self.certificate is not None:
            Gt = self.couplings.feedback_matrix(self.alpha * self.strength)
            self.certificate.update(self.couplings.dense(Gt), self._lipschitz())

    def stability(self, damping: float) -> Stability:
        """κ of the anchored loop for the present parameters."""
        Gt_RR = self.couplings.dense(self.feedback_matrix())
        return stability_of(Gt_RR, self._lipschitz(), damping, self.couplings.rank)

    def fold(self, config: ResonanceConfig) -> Tensor:
        """K (R, ΣC): from p to Σ_k U_lk c_lk of the output taps, side by side, at a linear loop's fixed point."""
        couplings = self.couplings
        if self.points:
            named = ", ".join(self.names[tap] for tap in self.points)
            raise ResonanceError(f"mode='folded': {named} reads means over the grid; give mode='explicit'")
        eye_RR = torch.eye(len(couplings.b), dtype=couplings.b.dtype, device=couplings.b.device)
        U_RC = torch.cat([couplings.incoming(eye_RR, tap) @ couplings.writer(tap) for tap in self.outputs], dim=1)
        return fold(couplings.dense(self.feedback_matrix()), U_RC, config)

    def _lipschitz(self) -> Tensor | float:
        return self.g_max * self.phi.lipschitz()

    def _returns(self) -> Tensor:
        """Whether an entry of Gᵀ belongs to the return leg, in the form of `feedback_matrix`."""
        couplings = self.couplings
        back_R = torch.tensor([p.target < p.source for p in couplings.pairs]).repeat_interleave(couplings.rank)
        rows = [~couplings.incoming(back_R, tap)[:, None] for tap in range(len(self.channels))]
        return couplings.assemble([row & back_R[part] for row, part in zip(rows, couplings.out_of, strict=True)])


def gated(message: Tensor, gate: Tensor | None) -> Tensor:
    """g · message, or the message itself without a gate."""
    return message if gate is None else gate * message
