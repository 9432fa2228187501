"""Adapters of one kind side by side: their matrices as a few larger ones, so that many cost little more than one.

    read      p = (x - m) W + b,      W_k = V_k / σ_k of all adapters side by side
    message   the loop, the student or the folded loop, on the messages of all adapters at once
    write     Δ_l = c U',             U' = s σ_l U_l
    read out  (mean x - m) H + (mean c) (U' H) + h,     H = head / σ_head

`m` is the mean of a tap by the statistics of one adapter; what others have more or less is in `b` and `h`. What is
multiplied out is so in float64. A head that reads means or positions needs no Δ.

Shape suffixes: A adapters, B batch, P positions of the grid, C channels of a tap, R message channels of one adapter, S
those into a tap, H hidden channels of the student, K outputs.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from dynaxx.backbone import Head, original
from dynaxx.config import LINEAR, ResonanceConfig
from dynaxx.fixed_point import iterate, picard
from dynaxx.grid import Grid, from_grid
from dynaxx.model.adapter import RUNAWAY, Adapter, pooled_key
from dynaxx.model.readout import as_map
from dynaxx.resonance import Anchors, Resonator, Student

LIMIT = 2**23
"""Most values of refined activations that are held at once, 32 MB in float32."""

Known = dict[tuple[object, ...], Tensor]
"""What was made of a batch's activations so far; see `Adapter.anchors`."""


Centre = tuple[int, Tensor]
"""Number and values of a centre, (C,), among those of one tap."""


def way_of(adapter: Adapter, config: ResonanceConfig) -> str:
    """How the adapter runs with these options, which cannot give couplings to one that has none."""
    return (adapter.config if adapter.config.mode in LINEAR else config).way(adapter.training)


class Stack:
    """Adapters of one kind (see `kind_of`), as they are now.

    Messages lie side by side in one axis: those out of the first tap, adapter by adapter, then those out of the next.

    Args:
        names: their names.
        adapters: the adapters.
        config: options of this pass, in which all of them agree where it matters.
        centres: the centre of every tap.
    """

    def __init__(
        self, names: Sequence[str], adapters: Sequence[Adapter], config: ResonanceConfig, centres: Sequence[Centre]
    ) -> None:
        self.names, self.taps, self.config, self.centres = list(names), adapters[0].taps, config, list(centres)
        self.way, self.readout = way_of(adapters[0], config), adapters[0].config.readout
        self.resonators: list[Resonator] = [adapter.require_built() for adapter in adapters]
        self.exchange, self.couplings = self.resonators[0].exchange, self.resonators[0].exchange.couplings
        self.dtype = self.exchange.strength.dtype
        if self.way != "linear":
            self._stack_couplings()
        if self.readout != "classifier":
            self._stack_heads([adapter.head for adapter in adapters if adapter.head is not None])

    # ---- making -----------------------------------------------------------------------------------------------------

    def _stack_couplings(self) -> None:
        couplings, exchanges = self.couplings, [resonator.exchange for resonator in self.resonators]
        self.V: dict[int, Tensor] = {}
        self.b: dict[int, Tensor] = {}
        for tap in couplings.sources:
            centre, part, V, b = self.centres[tap][1].double(), couplings.out_of[tap], list[Tensor](), list[Tensor]()
            for exchange in exchanges:
                mean, std = exchange.statistics.mean(tap).double(), exchange.statistics.std(tap).double()
                V.append(exchange.couplings.V[tap].double() / std[:, None])
                b.append(exchange.couplings.b[part].double() + (centre - mean) @ V[-1])
            self.V[tap], self.b[tap] = torch.cat(V, 1).to(self.dtype), torch.cat(b).to(self.dtype)
        self.numbers_AN = self._numbers()
        written = [list(parts) for parts in zip(*map(self._written, self.resonators), strict=True)]
        self.U = [torch.stack(parts).to(self.dtype) for parts in written]  # (A, S, C) of each output tap
        largest = [[e.statistics.std(tap).max() for e in exchanges] for tap in self.exchange.outputs]
        most = [RUNAWAY * torch.stack(of_all) for of_all in largest]
        # where |c| times this is below 1, no update can count as divergence
        self.reach_A = [U.abs().sum(1).amax(1) / m for U, m in zip(self.U, most, strict=True)]
        if self.way == "loop":
            self.Gt = torch.stack([e.feedback_matrix() for e in exchanges], 1).flatten(0, 1) if self._iterates else None
            self.kernel = self._by_source([e.phi.response() for e in exchanges])
            self.into_all = (
                torch.cat([self._into(tap).view(-1) for tap in couplings.sources]) if self._iterates else None
            )
        if self.way == "student":
            students = [resonator.student for resonator in self.resonators if resonator.student is not None]
            self._stack_students(students)

    @property
    def _iterates(self) -> bool:
        return self.config.T > 1

    def _stack_students(self, students: Sequence[Student]) -> None:
        self.student = students[0]
        self.mix = torch.stack([s.mix.weight.T for s in students]), torch.stack([s.mix.bias[None] for s in students])
        self.out = torch.stack([s.out.weight.T for s in students])
        inner, outer = [s.inner.response() for s in students], [s.outer.response() for s in students]
        self.inner = torch.cat([kernel for kernel in inner if kernel is not None]) if inner[0] is not None else None
        self.outer = torch.cat([kernel for kernel in outer if kernel is not None]) if outer[0] is not None else None

    def _written(self, resonator: Resonator) -> list[Tensor]:
        """s σ_l U_l of each output tap; of a folded loop, what takes p to Δ_l."""
        exchange = resonator.exchange
        if self.way == "folded":
            assert resonator.folded is not None
            U = list(resonator.folded.split([exchange.channels[tap] for tap in exchange.outputs], dim=1))
        else:
            U = [exchange.couplings.writer(tap) for tap in exchange.outputs]
        std = [exchange.statistics.std(tap).double() for tap in exchange.outputs]
        return [exchange.strength.double() * deviation * u.double() for deviation, u in zip(std, U, strict=True)]

    def _numbers(self) -> Tensor:
        """The place of each adapter's couplings among all, (A, N)."""
        adapters, pairs = len(self.names), self.couplings.pairs
        places = []
        for number, pair in enumerate(pairs):
            own = [n for n, other in enumerate(pairs) if other.source == pair.source]
            places.append([own[0] * adapters + a * len(own) + number - own[0] for a in range(adapters)])
        return torch.tensor(places, device=self.exchange.strength.device).T

    def _into(self, tap: int) -> Tensor:
        """The places of the couplings into `tap`, (A, N)."""
        return self.numbers_AN[:, self.couplings.get_buffer(f"into_{tap}")]

    def _by_source(self, kernels: Sequence[Tensor | None]) -> Tensor | None:
        """Kernels of all message channels, in the order of the messages."""
        parts = [
            kernel[self.couplings.out_of[tap]]
            for tap in self.couplings.sources
            for kernel in kernels
            if kernel is not None
        ]
        return torch.cat(parts) if parts else None

    def _stack_heads(self, heads: Sequence[Head]) -> None:
        widths = [tap.channels for tap in self.taps]
        taps, beside, const = [list[Tensor]() for _ in widths], [list[Tensor]() for _ in widths], list[Tensor]()
        for head in heads:
            H_FK, h_K = _as_one_matrix(head)
            mean = head.mean.double().split(widths * (len(head.mean) // sum(widths)))
            parts = H_FK.split(widths * (len(H_FK) // sum(widths)))
            h_K = h_K - torch.stack([m @ H for m, H in zip(mean, parts, strict=True)]).sum(0)
            for number, (_, centre) in enumerate(self.centres):
                h_K = h_K + centre.double() @ parts[number]
                taps[number].append(parts[number])
                if len(parts) > len(widths):
                    beside[number].append(parts[len(widths) + number])
            const.append(h_K)
        self.classes = [len(h_K) for h_K in const]
        self.H = [torch.cat(matrices, 1).to(self.dtype) for matrices in taps]
        self.D = [torch.cat(matrices, 1).to(self.dtype) for matrices in beside if matrices]
        self.h = torch.cat(const).to(self.dtype)
        if self.way != "linear":
            most = max(self.classes)
            padded = [
                torch.stack([nn.functional.pad(H, (0, most - H.shape[1])) for H in matrices]) for matrices in taps
            ]
            self.UH = [(U.double() @ H).to(self.dtype) for U, H in zip(self.U, padded, strict=True)]

    # ---- running ----------------------------------------------------------------------------------------------------

    def messages(self, anchors: Anchors, known: Known) -> list[Tensor] | None:
        """The messages into each output tap, (A, B P, S) each; None if an update may count as divergence.

        Args:
            anchors: finite anchors, of any adapter of the stack.
            known: what was made of the batch so far.
        """
        if self.way == "linear":
            return []
        batch = anchors.pooled[0].shape[:2]
        y_XC = {tap: self._centred(anchors, tap, known) for tap in self.couplings.sources}
        p_XR = torch.cat([torch.addmm(self.b[tap], y_XC[tap], self.V[tap]) for tap in self.couplings.sources], dim=1)
        found = self._agreed(p_XR.view(*batch, -1), anchors.grid)
        largest = [torch.linalg.vector_norm(c, float("inf"), dim=(1, 2)) for c in found]
        sound = torch.stack([c * reach <= 1 for c, reach in zip(largest, self.reach_A, strict=True)])
        return found if bool(sound.all()) else None

    def _agreed(self, p_BPR: Tensor, grid: Grid) -> list[Tensor]:
        outputs = self.exchange.outputs
        if self.way == "folded":
            return [self._select(p_BPR, self.numbers_AN)] * len(outputs)
        if self.way == "loop":
            c_BPR = self._iterated(p_BPR, grid)
            return [self._select(c_BPR, self._into(tap)) for tap in outputs]
        student, batch = self.student, p_BPR.shape[:2]
        weight, bias = self.mix
        hidden_AXH = torch.baddbmm(bias, self._select(p_BPR, self.numbers_AN), weight)
        hidden = student.inner(hidden_AXH.transpose(0, 1).reshape(*batch, -1), grid, response=self.inner)
        hidden_AXH = hidden.reshape(-1, *hidden_AXH.shape[::2]).transpose(0, 1)
        into = torch.cat([self._into(tap) for tap in outputs], dim=1)
        c_AXS = self._select(p_BPR, into) + hidden_AXH @ self.out
        c_BPS = student.outer(c_AXS.transpose(0, 1).reshape(*batch, -1), grid, response=self.outer)
        c_AXS = c_BPS.reshape(-1, len(self.names), c_AXS.shape[2]).transpose(0, 1)
        return list(c_AXS.split([U.shape[1] for U in self.U], dim=2))

    def _iterated(self, p_BPR: Tensor, grid: Grid) -> Tensor:
        def phi(h_BPR: Tensor) -> Tensor:
            message: Tensor = self.exchange.phi(h_BPR, grid, response=self.kernel)
            return message

        def update(c_BPR: Tensor) -> Tensor:
            assert self.Gt is not None
            assert self.into_all is not None
            by_block = (-1, *self.Gt.shape[:2])
            c_KXS = _couplings(c_BPR, self.into_all, self.couplings.rank).view(by_block).transpose(0, 1)
            p_KXS = p_BPR.view(by_block).transpose(0, 1)
            return phi(torch.baddbmm(p_KXS, c_KXS, self.Gt).transpose(0, 1).reshape(p_BPR.shape))

        first, damping = phi(p_BPR), self.config.damping
        return iterate(update, first, self.config.T, damping, picard(first, damping))

    def read_out(
        self, messages: Sequence[Tensor], anchors: Anchors, known: Known, size: Sequence[int] | None
    ) -> dict[str, Tensor]:
        """The outputs of the heads that read the taps, by name.

        Args:
            messages: what `messages` returned.
            anchors, known: its arguments.
            size: spatial size of a map of outputs.
        """
        batch, positions = anchors.pooled[0].shape[:2]
        whole = self.readout == "map"
        rows = batch * positions if whole else batch
        out_XK = self.h.expand(rows, -1)
        for tap, H in enumerate(self.H):
            out_XK = torch.addmm(out_XK, (self._centred if whole else self._mean)(anchors, tap, known), H)
        for number, D in enumerate(self.D):
            out_XK = torch.addmm(out_XK, anchors.outside[number].to(self.dtype), D)  # type: ignore[attr-defined]
        moved: Tensor | None = None
        for c_AXS, UH in zip(messages, self.UH if messages else (), strict=True):
            c_AXS = c_AXS if whole else c_AXS.unflatten(1, (batch, positions)).mean(2)
            moved = c_AXS @ UH if moved is None else torch.baddbmm(moved, c_AXS, UH)
        found: dict[str, Tensor] = {}
        for number, (name, out) in enumerate(zip(self.names, out_XK.split(self.classes, dim=1), strict=True)):
            own = out if moved is None else out + moved[number, :, : out.shape[1]]
            own = own.to(anchors.pooled[0].dtype)
            found[name] = (
                as_map(own.unflatten(0, (batch, positions)), anchors.grid, size) if whole else own.contiguous()
            )
        return found

    def refined(self, messages: Sequence[Tensor], anchors: Anchors) -> Iterator[tuple[list[str], list[Tensor]]]:
        """The refined activations of the output taps for some of the adapters at a time: their names, (A B, …) each."""
        each = max(1, LIMIT // sum(x.numel() for x in anchors.outputs))
        for start in range(0, len(self.names), each):
            part = slice(start, start + each)
            yield (
                self.names[part],
                [
                    original(self._moved(c[part], U[part], x, anchors.grid), self.taps[tap].layout)
                    for c, U, x, tap in zip(messages, self.U, anchors.outputs, self.exchange.outputs, strict=True)
                ],
            )

    def _moved(self, c_AXS: Tensor, U_ASC: Tensor, x: Tensor, grid: Grid) -> Tensor:
        """x + Up(c U') for each adapter, (A B, …)."""
        adapters, batch = len(c_AXS), len(x)
        if x.ndim > 3 and tuple(x.shape[2:]) == tuple(grid):
            delta_ACBP = (U_ASC.mT @ c_AXS.mT).to(x.dtype).unflatten(2, (batch, -1))
            moved = x.new_empty(adapters, *x.flatten(2).shape)
            torch.add(x.flatten(2), delta_ACBP.transpose(1, 2), out=moved)
            return moved.view(adapters * batch, *x.shape[1:])
        delta = (c_AXS @ U_ASC).unflatten(1, (batch, -1)).flatten(0, 1)
        return (x + from_grid(delta, grid, x).to(x.dtype).unflatten(0, (adapters, batch))).flatten(0, 1)

    def _select(self, x_BPR: Tensor, numbers_AN: Tensor) -> Tensor:
        """The messages of these couplings for each adapter, (A, B P, …)."""
        chosen = _couplings(x_BPR, numbers_AN.reshape(-1), self.couplings.rank)
        return chosen.reshape(-1, len(numbers_AN), numbers_AN.shape[1] * self.couplings.rank).transpose(0, 1)

    def _centred(self, anchors: Anchors, tap: int, known: Known) -> Tensor:
        """The anchor of a tap less its centre, (B P, C)."""
        number, centre = self.centres[tap]
        key = ("centred", number, *pooled_key(self.taps[tap], anchors.grid, self.config.token_pool), self.dtype)
        if key not in known:
            x_BPC = anchors.pooled[tap].to(self.dtype)
            known[key] = torch.sub(x_BPC, centre, out=x_BPC.new_empty(x_BPC.shape)).flatten(0, 1)
        return known[key]

    def _mean(self, anchors: Anchors, tap: int, known: Known) -> Tensor:
        """The mean of `_centred` over positions, (B, C)."""
        number, _ = self.centres[tap]
        key = ("mean", number, *pooled_key(self.taps[tap], anchors.grid, self.config.token_pool), self.dtype)
        if key not in known:
            known[key] = self._centred(anchors, tap, known).unflatten(0, anchors.pooled[tap].shape[:2]).mean(1)
        return known[key]


def _couplings(x: Tensor, numbers: Tensor, rank: int) -> Tensor:
    """The channels of the couplings of these numbers, (…, couplings, rank)."""
    return x.reshape(*x.shape[:-1], -1, rank).index_select(-2, numbers)


def _as_one_matrix(head: Head) -> tuple[Tensor, Tensor]:
    """H (F, K) and h (K) with head(f) = (f - head.mean) H + h, in float64."""
    H_KF, h_K = head.weight.double() / head.std.double(), head.bias.double()
    if head.scale is not None and head.shift is not None:
        H_KF, h_K = head.scale.double()[:, None] * H_KF, head.shift.double() + head.scale.double() * h_K
    return H_KF.T, h_K
