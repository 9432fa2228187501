"""Gates g_lk: one factor per coupling, for each sample or for each position.

Shape suffixes: B batch, Q is 1, or all positions in causal models, N couplings, D dimensions of the critic.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaxx.grid import running_mean
from dynaxx.resonance.couplings import Pair

G_MAX = {"none": 1.0, "learned": 2.0, "mutual_information": 2.0, "position": 1.0}
"""Largest value of a gate of each kind, for the stability bound."""


def pooled_for_gates(y_BPC: list[Tensor], causal: bool, pooled: bool) -> list[Tensor]:
    """The input of gates: means over positions, or running means if causal, unless they are `pooled` already."""
    if not causal:
        return [y.mean(1, keepdim=True) for y in y_BPC]
    most = max(y.shape[1] for y in y_BPC)  # a source may be one vector
    return [y.expand(-1, most, -1) if pooled else running_mean(y.expand(-1, most, -1)) for y in y_BPC]


def input_of(gate: nn.Module | None, y_BPC: list[Tensor], causal: bool, pooled: bool) -> list[Tensor]:
    """What the gates read of the anchors y⁰: means of positions, or each position (B, P, C_l)."""
    if not isinstance(gate, PositionGate):
        return pooled_for_gates(y_BPC, causal, pooled)
    most = max(y.shape[1] for y in y_BPC)
    return [y.expand(-1, most, -1) for y in y_BPC]


class LearnedGate(nn.Module):
    """g_lk = 2σ(w_lkᵀ pool(y⁰)), one scalar per sample and coupling; y⁰ are the anchors of all taps.

    `w = 0` at the start, so every gate starts at exactly 1.
    """

    def __init__(self, channels: list[int], pairs: list[Pair]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(sum(channels), len(pairs)))

    def forward(self, z_BQC: list[Tensor]) -> Tensor:
        """Gates (B, Q, N) of the pooled anchors, one (B, Q, C_l) per tap."""
        return 2.0 * torch.sigmoid(torch.cat(z_BQC, dim=2) @ self.weight)

    def loss(self, z_BQC: list[Tensor]) -> None:
        """None: the task's loss alone trains this gate."""


class MutualInformationGate(nn.Module):
    """g_lk = 2σ(w_lk i_lk + v_lk), driven by the mutual information of taps l and k for each sample.

        i_lk = f(z_l, z_k) - log mean_m exp f(z_l, z_k^m),    f(z_l, z_k) = (A_l z_l)ᵀ (B_k z_k) / √D,    z = pool(y⁰)

    i is pointwise mutual information by the InfoNCE critic f (van den Oord, Li and Vinyals 2018). The z_k^m of its
    normaliser are the last samples of training, zeros before it. They are kept with the weights, so a sample needs no
    batch. The task's loss trains w and v alone; `loss` trains the critic.
    """

    DIMENSIONS = 16
    KEPT = 256
    """Number of training samples in the normaliser."""

    def __init__(self, channels: list[int], pairs: list[Pair]) -> None:
        super().__init__()
        self.pairs = pairs
        self.A = nn.ParameterList([torch.randn(c, self.DIMENSIONS) / c**0.5 for c in channels])
        self.B = nn.ParameterList([torch.randn(c, self.DIMENSIONS) / c**0.5 for c in channels])
        self.weight = nn.Parameter(torch.ones(len(pairs)))
        self.bias = nn.Parameter(torch.zeros(len(pairs)))
        for tap in range(len(channels)):
            self.register_buffer(f"kept_{tap}", torch.zeros(self.KEPT, self.DIMENSIONS))

    def forward(self, z_BQC: list[Tensor]) -> Tensor:
        """Gates (B, Q, N) of the pooled anchors, one (B, Q, C_l) per tap."""
        return 2.0 * torch.sigmoid(self.weight * self.information(z_BQC).detach() + self.bias)

    def information(self, z_BQC: list[Tensor]) -> Tensor:
        """Pointwise mutual information i_lk in nats, (B, Q, N)."""
        a_BQD, b_BQD = self._project(z_BQC)
        scores = []
        for target, source in self.pairs:
            others = a_BQD[target] @ self.get_buffer(f"kept_{source}").T
            scores.append((a_BQD[target] * b_BQD[source]).sum(2) - others.logsumexp(2) + math.log(self.KEPT))
        return torch.stack(scores, dim=2)

    def loss(self, z_BQC: list[Tensor]) -> Tensor | None:
        """-InfoNCE, the mean over couplings of a lower bound on their mutual information (at most log B); keeps the
        samples.

        None for a batch of one sample, which has no negative pairs.
        """
        batch = len(z_BQC[0])
        if batch < 2:
            return None
        a_BD, b_BD = self._project([z.mean(1) for z in z_BQC])
        scores_NBB = torch.stack([a_BD[pair.target] @ b_BD[pair.source].T for pair in self.pairs])
        matched_NB = scores_NBB.diagonal(dim1=1, dim2=2)
        bound_NB = matched_NB - (scores_NBB.logsumexp(2) - math.log(batch))
        for tap, b in enumerate(b_BD):
            kept = self.get_buffer(f"kept_{tap}")
            kept.copy_(torch.cat([b.detach().to(kept.dtype), kept])[: self.KEPT])
        return -bound_NB.mean()

    def _project(self, z: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """A_l z_l / √D and B_k z_k of every tap, on the last axis."""
        a = [z_l @ A / self.DIMENSIONS**0.5 for z_l, A in zip(z, self.A, strict=True)]
        return a, [z_k @ B for z_k, B in zip(z, self.B, strict=True)]


class PositionGate(nn.Module):
    """g_lk = σ(w_lkᵀ gelu(A y⁰ + a) + w_lk⁰) at each position; y⁰ are the anchors of all taps there.

    Where a gate is near 0, no message passes: gates are walls, which stop messages that travel from place to place.
    `w = 0` and `w⁰ = 2` at the start, so every gate starts at 0.88.
    """

    HIDDEN = 16

    def __init__(self, channels: list[int], pairs: list[Pair]) -> None:
        super().__init__()
        self.hidden = nn.Linear(sum(channels), self.HIDDEN)
        self.out = nn.Linear(self.HIDDEN, len(pairs))
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, 2.0)

    def forward(self, z_BPC: list[Tensor]) -> Tensor:
        """Gates (B, P, N) of the anchors, one (B, P, C_l) per tap."""
        return torch.sigmoid(self.out(F.gelu(self.hidden(torch.cat(z_BPC, dim=2)))))

    def loss(self, z_BPC: list[Tensor]) -> None:
        """None: the task's loss alone trains this gate."""


GATES: dict[str, type[LearnedGate] | type[MutualInformationGate] | type[PositionGate]] = {
    "learned": LearnedGate,
    "mutual_information": MutualInformationGate,
    "position": PositionGate,
}
