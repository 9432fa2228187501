"""How each tap's anchor is predicted from the other taps alone; what is left of it is where the layers disagree.

    none        ŷ_l = 0: what is left is the anchor itself
    ridge       ŷ_l = W_lᵀ [y_k]_{k≠l}, in closed form from sums over batches
    resonance   ŷ_l = Σ_k U_lk c_lk after T iterations in which y_l⁰ is 0: couplings trained to predict

No predictor reads the anchor that it predicts. In the loop tap l takes part with what was written to it so far, its own
prediction, since every message out of it reads its state, and its anchor is not in there.

Shape suffixes: B batch, P positions of the grid (1 of a point), C channels of a tap, F those of all taps.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.fixed_point import SolverOptions, solve
from dynaxx.grid import Tap
from dynaxx.model.gaussian import Sums
from dynaxx.resonance import Anchored, Anchors, Resonator

PREDICTORS = ("ridge", "resonance", "none")


class Standardised(Protocol):
    """Batches that can be gone through again: standardised anchors, and which positions (B, P) count, None for all."""

    def __call__(self) -> Iterable[tuple[Anchors, Tensor | None]]: ...


def side_by_side(y_BPC: Sequence[Tensor]) -> Tensor:
    """All taps in one axis of channels, (B, P, F); a point is the same at all positions.

    >>> side_by_side([torch.zeros(2, 9, 3), torch.zeros(2, 1, 4)]).shape
    torch.Size([2, 9, 7])
    """
    most = max(part.shape[1] for part in y_BPC)
    return torch.cat([part.expand(-1, most, -1) for part in y_BPC], dim=2)


class Nothing(nn.Module):
    """The predictor of zeros."""

    def forward(self, anchors: Anchors) -> list[Tensor]:
        return [torch.zeros_like(y) for y in anchors.pooled]

    def fit(self, batches: Standardised) -> None:
        """Nothing is learned."""
        del batches


class Ridge(nn.Module):
    """Linear predictions, W_l = (Z Zᵀ / N + penalty I)⁻¹ Z y_lᵀ / N with Z = [y_k]_{k≠l}.

    >>> Ridge([8, 4]).weight_0.shape
    torch.Size([4, 8])

    Args:
        channels: C of each tap.
        penalty: strength of the penalty, in units of the variance of a standardised channel.
        points: numbers of the taps that have no positions; these are predicted from means over positions.
    """

    def __init__(self, channels: Sequence[int], penalty: float = 1e-3, points: Sequence[int] = ()) -> None:
        super().__init__()
        self.channels, self.penalty, self.points = list(channels), penalty, set(points)
        for tap, width in enumerate(channels):
            self.register_buffer(f"weight_{tap}", torch.zeros(sum(channels) - width, width))

    def forward(self, anchors: Anchors) -> list[Tensor]:
        """ŷ of every tap, (B, P, C)."""
        found = []
        for tap in range(len(self.channels)):
            others_BPF = side_by_side([y for number, y in enumerate(anchors.pooled) if number != tap])
            others_BPF = others_BPF.mean(1, keepdim=True) if tap in self.points else others_BPF
            weight = self.get_buffer(f"weight_{tap}")
            found.append((others_BPF.to(weight.dtype) @ weight).expand(-1, anchors.pooled[tap].shape[1], -1))
        return found

    @torch.no_grad()
    def fit(self, batches: Standardised) -> None:
        """Go through the batches once, and set the weights."""
        placed, pooled = Sums(by_position=False), Sums(by_position=False)
        for anchors, counts_BP in batches():
            all_BPF = side_by_side(anchors.pooled)
            placed.add(all_BPF, counts_BP)
            if self.points:
                pooled.add(all_BPF.mean(1, keepdim=True))
        of_tap = torch.arange(sum(self.channels)).split(self.channels)
        for tap, own in enumerate(of_tap):
            products_FF = (pooled if tap in self.points else placed).moments()[1][0]
            others = torch.cat([numbers for number, numbers in enumerate(of_tap) if number != tap]).to(
                products_FF.device
            )
            own = own.to(products_FF.device)
            eye = torch.eye(len(others), dtype=products_FF.dtype, device=products_FF.device)
            matrix = products_FF[others][:, others] + self.penalty * eye
            self.get_buffer(f"weight_{tap}").copy_(torch.linalg.solve(matrix, products_FF[others][:, own]))


class Resonance(nn.Module):
    """Predictions by messages: the anchored loop, run once for each tap with this tap's anchor taken out.

    Args:
        taps: the taps, in depth order.
        config: options of the loop.
        epochs: passes over the batches in training.
        lr: learning rate of Adam, which falls to 0 along a cosine.
    """

    def __init__(self, taps: Sequence[Tap], config: ResonanceConfig, epochs: int = 20, lr: float = 1e-2) -> None:
        super().__init__()
        self.config, self.epochs, self.lr = config, epochs, lr
        read = [dataclasses.replace(tap, output=True) for tap in taps]  # every tap receives messages, also with T=1
        self.resonator = Resonator(read, config).requires_grad_(False)

    def forward(self, anchors: Anchors) -> list[Tensor]:
        """ŷ of every tap, (B, P, C)."""
        exchange, couplings = self.resonator.exchange, self.resonator.exchange.couplings
        y_BPC, _ = exchange.standardised(anchors)
        p_BPR, found = exchange.read(y_BPC, anchors.grid), []
        number_R = torch.arange(p_BPR.shape[2], device=p_BPR.device)
        for tap, y in enumerate(y_BPC):
            own_R = (number_R >= couplings.out_of[tap].start) & (number_R < couplings.out_of[tap].stop)
            without_BPR = torch.where(own_R, couplings.b, p_BPR)  # what is read of this tap where its anchor is 0
            problem = Anchored(exchange, without_BPR, None, anchors.grid)
            (prediction_BPC,) = problem.deltas(solve(problem, SolverOptions.of(self.config)), [tap])
            found.append(prediction_BPC.expand(-1, y.shape[1], -1))
        return found

    def fit(self, batches: Standardised) -> None:
        """Train the couplings to predict each tap: the mean squared error, in deviations of each channel.

        Raises:
            ResonanceError: training ends with parameters that are not finite.
        """
        with torch.enable_grad():
            self.resonator.requires_grad_(True).train()
            parameters = list(self.resonator.parameters())
            optimizer = torch.optim.Adam(parameters, lr=self.lr)
            for epoch in range(self.epochs):
                for group in optimizer.param_groups:
                    group["lr"] = self.lr * (1 + torch.cos(torch.tensor(torch.pi * epoch / self.epochs)).item()) / 2
                for anchors, counts_BP in batches():
                    loss = self._loss(anchors, counts_BP)
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(parameters, 1.0)
                    optimizer.step()
            self.resonator.requires_grad_(False).eval()
        if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
            raise ResonanceError(f"lr={self.lr}: the couplings are not finite after training; give a lower one")

    def _loss(self, anchors: Anchors, counts_BP: Tensor | None) -> Tensor:
        losses = []
        for predicted, y in zip(self(anchors), anchors.pooled, strict=True):
            error_BP = (predicted - y).square().mean(2)
            if counts_BP is not None and counts_BP.shape == error_BP.shape:
                losses.append((error_BP * counts_BP).sum() / counts_BP.sum().clamp_min(1))
            else:
                losses.append(error_BP.mean())
        return torch.stack(losses).mean()


Predictor = Nothing | Ridge | Resonance
