"""The low-rank couplings C_lk = U_lk φ(V_lkᵀ ·), kept tap by tap: one matrix reads a tap, one writes it.

Both ends are in standard deviations of the tap's channels, so a step of the optimizer means the same in every channel.
The messages of all couplings lie side by side in one axis of R channels, grouped by source tap k. So reading is one
product per tap, p = y_k V_k + b, and so is writing, Σ_k U_lk c_lk = c_into(l) U_l. A message out of tap k depends on
the messages into tap k alone: G has one block per tap.

Shape suffixes: B batch, P positions, C channels of a tap, R message channels, R_k of them out of tap k, S those into
it.
"""

from collections.abc import Collection
from itertools import chain, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dynaxx.errors import ResonanceError


class Pair(NamedTuple):
    """One coupling `C_lk` from `source` (k) to tap `target` (l); taps count from 0 in depth order, then sources."""

    target: int
    source: int


def live_pairs(taps: int, T: int, outputs: Collection[int], sources: int = 0) -> list[Pair]:
    """The couplings that can reach the output within `T` iterations, grouped by source.

    A message into an output tap takes effect in the same iteration. A message into any other tap takes effect one
    iteration later, through the couplings that read that tap. The `sources` of the call, counted from `taps` on, are
    read for all taps and never written.

    >>> [(pair.target, pair.source) for pair in live_pairs(3, 1, outputs=[2])]
    [(2, 0), (2, 1)]
    """
    ordered = [Pair(target, source) for source in range(taps + sources) for target in range(taps) if target != source]
    return [pair for pair in ordered if pair.target in outputs or T > 1]


class Couplings(nn.Module):
    """`V_k` (C_k, R_k), `U_l` (S, C_l) and `b` (R) of the couplings `pairs`, of rank `rank` each.

    Learned ones start at `U = 0`. Fixed ones train one factor per coupling, which starts at 0: `identity` passes
    channel n to channel n (U Vᵀ = eye(C_l, C_k), of the rank that this needs), `random` mixes at random.

    Args:
        channels: C of each tap and source.
        pairs: the couplings, grouped by source.
        rank: r.
        kind: `learned`, `identity` or `random`.

    Raises:
        ResonanceError: the rank exceeds the channels of all taps together, beyond which it adds nothing.
    """

    into_all: Tensor

    def __init__(self, channels: list[int], pairs: list[Pair], rank: int, kind: str = "learned") -> None:
        super().__init__()
        if kind == "identity":
            rank = max(min(channels[target], channels[source]) for target, source in pairs)
        if rank > sum(channels):
            raise ResonanceError(
                f"rank={rank}: the coupled taps have {sum(channels)} channels together; give a rank of at most that"
            )
        self.channels, self.pairs, self.rank = channels, pairs, rank
        taps = range(len(channels))
        self.targets = sorted({pair.target for pair in pairs})
        self.sources = sorted({pair.source for pair in pairs})
        self.complete = len(pairs) == len(channels) * (len(channels) - 1)
        into = [[number for number, pair in enumerate(pairs) if pair.target == tap] for tap in taps]
        for tap in taps:
            self.register_buffer(f"into_{tap}", torch.tensor(into[tap], dtype=torch.long), persistent=False)
        self.register_buffer("into_all", torch.tensor([*chain(*into)], dtype=torch.long), persistent=False)
        first = [rank * sum(pair.source < tap for pair in pairs) for tap in range(len(channels) + 1)]
        self.out_of = [slice(*ends) for ends in pairwise(first)]
        """The message channels out of each tap."""
        # coupling by coupling, so that a seed gives the same start whatever the grouping; a standardised activation has
        # unit variance in every channel, and so has its projection
        V = {pair: torch.randn(channels[pair.source], rank) / channels[pair.source] ** 0.5 for pair in pairs}
        U = {pair: torch.zeros(rank, channels[pair.target]) for pair in pairs}
        if kind == "identity":
            V = {pair: torch.eye(*matrix.shape) for pair, matrix in V.items()}
            U = {pair: torch.eye(*matrix.shape) for pair, matrix in U.items()}
        elif kind == "random":
            U = {pair: matrix.normal_(std=rank**-0.5) for pair, matrix in U.items()}
        none = [torch.empty(channels[tap], 0) for tap in taps]
        self.V = nn.ParameterList(torch.cat([none[k], *(V[p] for p in pairs if p.source == k)], dim=1) for k in taps)
        self.U = nn.ParameterList(torch.cat([none[l].T, *(U[p] for p in pairs if p.target == l)]) for l in taps)
        self.b = nn.Parameter(torch.zeros(len(pairs) * rank))
        for matrix in [*self.V, *self.U]:
            matrix.requires_grad_(matrix.numel() > 0 and kind == "learned")
        self.b.requires_grad_(kind == "learned" and len(pairs) > 0)
        self.factor = None if kind == "learned" else nn.Parameter(torch.zeros(len(pairs)))

    def of(self, pair: Pair) -> tuple[Tensor, Tensor, Tensor]:
        """V_lk (C_k, r), U_lk (r, C_l) and b_lk (r) of one coupling, as views of the grouped matrices."""
        number, rank = self.pairs.index(pair), self.rank
        column = number * rank - self.out_of[pair.source].start
        row = self.get_buffer(f"into_{pair.target}").tolist().index(number) * rank
        V_CR, U_SC = self.V[pair.source], self.writer(pair.target)
        return V_CR[:, column : column + rank], U_SC[row : row + rank], self.b[number * rank : (number + 1) * rank]

    def incoming(self, c_BPR: Tensor, tap: int) -> Tensor:
        """The channels of the messages into `tap` alone, (…, S); works for gates and projections, too."""
        return _select(c_BPR, getattr(self, f"into_{tap}"), self.rank)

    def project(self, y_BPC: list[Tensor], positions: int | None = None) -> Tensor:
        """p_lk = V_lkᵀ y_k + b_lk of every coupling, (B, P, R); what has one position is given all `positions`."""
        parts = [y_BPC[tap] @ self.V[tap] for tap in self.sources]
        if positions is not None:
            parts = [part if part.shape[1] == positions else part.expand(-1, positions, -1) for part in parts]
        p_BPR = torch.cat(parts, dim=2)
        return p_BPR + self.b.to(p_BPR.dtype)  # under autocast the product is in half precision: stay there

    def writer(self, tap: int) -> Tensor:
        """U_l (S, C_l) in effect: fixed couplings are multiplied by their factors."""
        U: Tensor = self.U[tap]
        if self.factor is None:
            return U
        return self.factor[self.get_buffer(f"into_{tap}")].repeat_interleave(self.rank)[:, None] * U

    def feedback_matrix(self, gain: Tensor | float) -> Tensor:
        """Gᵀ, by which messages act on messages: G_(lk)(kj) = gain · V_lkᵀ U_kj, with gain = α s; see `assemble`."""
        return self.assemble([gain * self.writer(tap) @ V for tap, V in enumerate(self.V)])

    def assemble(self, blocks: list[Tensor]) -> Tensor:
        """One matrix of a block (S, R_k) per tap k: rows are messages into tap k, columns those out of it.

        If every pair of taps is coupled, all blocks have the same shape and are stacked: (K, S, S), with three taps and
        rank r (3, 2r, 2r). Otherwise they are placed in (R, R), all other entries zero.
        """
        return torch.stack(blocks) if self.complete else self._spread(blocks)

    def dense(self, Gt: Tensor) -> Tensor:
        """Gᵀ (R, R) with its zeros, for bounds on it."""
        return self._spread(list(Gt)) if self.complete else Gt

    def feed_back(self, p_BPR: Tensor, c_BPR: Tensor, Gt: Tensor) -> Tensor:
        """p + G c: stacked blocks are one batched matrix product, with one batch entry per tap."""
        if not self.complete:
            return torch.addmm(p_BPR.flatten(0, 1), c_BPR.flatten(0, 1), Gt).view_as(p_BPR)
        by_tap = (-1, *Gt.shape[:2])
        c_KXS = _select(c_BPR, self.into_all, self.rank).view(by_tap).transpose(0, 1)
        p_KXS = p_BPR.reshape(by_tap).transpose(0, 1)
        return torch.baddbmm(p_KXS, c_KXS, Gt).transpose(0, 1).reshape(p_BPR.shape)

    def dependences(self) -> tuple[Tensor, Tensor]:
        """Two bool matrices (N, N): whether coupling i (column) reads the target of j (row); whether that is a return.

        On the return leg j runs forward, from an earlier tap to a later one, and i runs back.
        """
        reads = torch.tensor([[i.source == j.target for i in self.pairs] for j in self.pairs])
        back = torch.tensor([pair.target < pair.source for pair in self.pairs])
        return reads, reads & ~back[:, None] & back

    def _spread(self, blocks: list[Tensor]) -> Tensor:
        columns = []
        for tap, block in enumerate(blocks):
            rows = block.new_zeros(len(self.pairs), self.rank, block.shape[1])
            block = block.unflatten(0, (-1, self.rank)) if len(block) else rows[:0]
            columns.append(rows.index_copy(0, self.get_buffer(f"into_{tap}"), block).flatten(0, 1))
        return torch.cat(columns, dim=1)


def _select(x: Tensor, numbers: Tensor, rank: int) -> Tensor:
    """The channels of the couplings of these numbers: whole couplings are moved, not channel by channel."""
    return x.reshape(*x.shape[:-1], x.shape[-1] // rank, rank).index_select(-2, numbers).flatten(-2)
