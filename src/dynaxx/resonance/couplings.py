"""The low-rank couplings C_lk = U_lk φ(V_lkᵀ ·): their parameters, and the small matrices made of them.

Both ends speak in standard deviations of the tap's channels: V_lk reads y_k, and U_lk is what a message moves y_l by.
So a step of the optimizer means the same in every channel and every tap, whatever units the activations are in.

Messages of all couplings stand side by side in one axis of R = couplings × r channels, grouped by source, so
projecting is one matrix product a tap and an iteration is one product with `G`.

Shape suffixes: B batch, P positions of the grid, C channels of a tap, R message channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaxx.errors import ResonanceError
from dynaxx.resonance.hearing import Hearing, hearing
from dynaxx.resonance.topology import Pair


class Couplings(nn.Module):
    """`V_lk` (C_k, r), `U_lk` (r, C_l) and `b_lk` (r) of every live coupling.

    Learned ones start at `U = 0`. Fixed ones train nothing but a factor each, which starts at 0: `identity` hands every
    channel on to the channel of the same number (U Vᵀ = eye(C_l, C_k), whatever the rank), `random` mixes at random.

    Args:
        channels: C of each tap.
        pairs: the couplings that live.
        rank: r; identity couplings have the rank that they need.
        kind: `learned`, `identity` or `random`.

    Raises:
        ResonanceError: the rank exceeds the channels of all taps together, where it could add nothing.
    """

    into_KM: Tensor | None

    def __init__(self, channels: list[int], pairs: list[Pair], rank: int, kind: str = "learned") -> None:
        super().__init__()
        if kind == "identity":
            rank = max(min(channels[target], channels[source]) for target, source in pairs)
        if rank > sum(channels):
            raise ResonanceError(
                f"rank={rank}: the coupled taps have {sum(channels)} channels together; give a rank of at most that"
            )
        self.channels = channels
        self.pairs = pairs
        self.rank = rank
        # a standardised anchor has unit variance in every channel: so has its projection
        self.V = nn.ParameterList([torch.randn(channels[k], rank) / channels[k] ** 0.5 for _, k in pairs])
        self.U = nn.ParameterList([torch.zeros(rank, channels[target]) for target, _ in pairs])
        self.b = nn.Parameter(torch.zeros(len(pairs) * rank))
        complete = len(pairs) == len(channels) * (len(channels) - 1)
        into_KM = torch.tensor([self.into(tap) for tap in range(len(channels))]) if complete else None
        self.register_buffer("into_KM", into_KM, persistent=False)
        self.factor: nn.Parameter | None = None
        if kind != "learned":
            self.requires_grad_(False)
            self.factor = nn.Parameter(torch.zeros(len(pairs)))
            self._fix(kind)

    @torch.no_grad()
    def _fix(self, kind: str) -> None:
        for U, V in zip(self.U, self.V, strict=True):
            if kind == "identity":
                V.copy_(torch.eye(*V.shape))
                U.copy_(torch.eye(*U.shape))
            else:
                U.normal_(std=self.rank**-0.5)

    def _writes(self, number: int) -> Tensor:
        """U_lk (r, C_l) as it acts: times its factor where it is fixed."""
        U: Tensor = self.U[number]
        return U if self.factor is None else self.factor[number] * U

    def project(self, y_BPC: list[Tensor]) -> Tensor:
        """p_lk = V_lkᵀ y_k + b_lk for every coupling: (B, P, R)."""
        parts = [y @ self.reads_out_of(tap) for tap, y in enumerate(y_BPC) if self.out_of(tap)]
        p_BPR = torch.cat(parts, dim=2)
        return p_BPR + self.b.to(p_BPR.dtype)  # under autocast the product is in half precision: stay there

    def expansion(self) -> Tensor:
        """U (R, ΣC): row block (lk) is U_lk in the columns of tap l, so c @ U is Σ_k U_lk c_lk of all taps, in σ_l."""
        rows = [_placed(self._writes(n), *self._columns(pair.target)) for n, pair in enumerate(self.pairs)]
        return torch.cat(rows)

    def feedback(self, gain: Tensor | float) -> Tensor:
        """Gᵀ (R, R), the matrix by which messages act on messages: G_(lk)(kj) = gain · V_lkᵀ U_kj.

        All other blocks are zero, since C_lk reads tap k alone. `gain` is α·s.
        """
        return gain * torch.cat([self._heard_at(tap) for tap in range(len(self.channels)) if self.out_of(tap)], dim=1)

    def _heard_at(self, tap: int) -> Tensor:
        """The columns of the messages out of `tap`, (R, R_k): nothing but those into it moves them."""
        V_CR, into = self.reads_out_of(tap), self.into(tap)
        rows = [V_CR.new_zeros(self.rank, V_CR.shape[1])] * len(self.pairs)
        if into:
            for number, row in zip(into, (self.writes_into(tap) @ V_CR).split(self.rank), strict=True):
                rows[number] = row
        return torch.cat(rows)

    def hearing(self, Gt_RR: Tensor) -> Hearing:
        """The function p, c ↦ p + G c; see `hearing`."""
        return hearing(Gt_RR, self.into_KM, self.rank)

    def into(self, tap: int) -> list[int]:
        """Numbers of the couplings whose target is `tap`."""
        return [number for number, pair in enumerate(self.pairs) if pair.target == tap]

    def out_of(self, tap: int) -> list[int]:
        """Numbers of the couplings whose source is `tap`; they follow one another."""
        return [number for number, pair in enumerate(self.pairs) if pair.source == tap]

    def channels_of(self, couplings: list[int]) -> list[int]:
        """The message channels of these couplings, among all R."""
        return [channel for n in couplings for channel in range(n * self.rank, (n + 1) * self.rank)]

    def gather(self, c_BPR: Tensor, couplings: list[int]) -> Tensor:
        """The channels of the messages of these couplings alone, (B, P, r · couplings)."""
        return torch.cat([c_BPR[..., n * self.rank : (n + 1) * self.rank] for n in couplings], dim=-1)

    def writes_into(self, tap: int) -> Tensor:
        """The U_lk of all couplings into l = `tap`, one below the other: (S, C_l)."""
        return torch.cat([self._writes(n) for n in self.into(tap)])

    def reads_out_of(self, tap: int) -> Tensor:
        """The V_lk of all couplings out of k = `tap`, side by side: (C_k, R_k)."""
        return torch.cat([self.V[n] for n in self.out_of(tap)], dim=1)

    def _columns(self, tap: int) -> tuple[int, int]:
        """Channels before and behind those of `tap` when all taps stand side by side."""
        return sum(self.channels[:tap]), sum(self.channels[tap + 1 :])


def _placed(block: Tensor, before: int, behind: int) -> Tensor:
    """`block` (n, C) in its place among all columns, zeros around it."""
    return F.pad(block, (before, behind))
