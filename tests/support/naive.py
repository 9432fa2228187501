"""The anchored dynamics by `resonance.reference`, with pooling, φ and gates written out, one coupling at a time."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx import ResonanceConfig
from dynaxx.grid import Tap
from dynaxx.resonance import Resonator, reference

ACT = {
    "gelu": F.gelu,
    "silu": lambda h: h * torch.sigmoid(h),
    "relu": lambda h: h.clamp_min(0),
    "tanh": torch.tanh,
    "identity": lambda h: h,
}


def depthwise(h: Tensor, kernel: Tensor, prefix: int) -> Tensor:
    """3x3 on (B, r, h, w) with zero padding; on (B, r, N) causal: positions n-2, n-1, n behind the prefix."""
    out = torch.zeros_like(h)
    if h.ndim == 4:
        rows, columns = h.shape[2:]
        for i in range(rows):
            for j in range(columns):
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        if 0 <= i + di < rows and 0 <= j + dj < columns:
                            out[:, :, i, j] += kernel[:, 0, di + 1, dj + 1] * h[:, :, i + di, j + dj]
        return out
    for n in range(prefix, h.shape[2]):
        for back in (0, 1, 2):
            if n - back >= prefix:
                out[:, :, n] += kernel[:, 0, 2 - back] * h[:, :, n - back]
    return out


def pool(x: Tensor, grid: tuple[int, ...], tap: Tap) -> Tensor:
    """(B, C, *grid): a map is averaged, tokens lie row by row, and all else is the same everywhere."""
    if x.ndim == 4:
        return F.adaptive_avg_pool2d(x, grid)
    if tap.point:
        return x.mean(2).reshape(*x.shape[:2], *[1] * len(grid)).expand(-1, -1, *grid)
    return x if len(grid) == 1 else x[:, :, tap.prefix :].reshape(*x.shape[:2], *grid)


def up(delta: Tensor, like: Tensor, tap: Tap) -> Tensor:
    """What is written on the grid, (B, C, *grid), in the shape of the tap."""
    if like.ndim == 4:
        return F.interpolate(delta, size=like.shape[2:], mode="nearest")
    flat = delta.flatten(2)
    mean = flat.mean(2, keepdim=True)
    if tap.point:
        return mean.expand_as(like)
    return flat if delta.ndim == 3 else torch.cat([mean.expand(-1, -1, tap.prefix), flat], dim=2)


def up_to_each(x: Tensor) -> Tensor:
    """(B, C, N): at each position the mean of it and all before it."""
    return torch.stack([x[:, :, : n + 1].mean(2) for n in range(x.shape[2])], dim=2)


def resonate(
    resonator: Resonator,
    config: ResonanceConfig,
    anchors: list[Tensor],
    grid: tuple[int, ...],
    taps: list[int],
    sources: Sequence[tuple[Tensor, Tensor]] = (),
) -> tuple[list[Tensor], Tensor]:
    """x_l of `taps` after T iterations, and the relative residual (T, target taps, B).

    `anchors` are channels-first: (B, C, H, W), or (B, C, N) for tokens and vectors. `sources` are maps on the grid, and
    which samples have them.
    """
    exchange, causal = resonator.exchange, resonator.causal
    couplings, rank = exchange.couplings, exchange.couplings.rank
    pooled = [pool(x, grid, tap) for x, tap in zip(anchors, resonator.taps, strict=True)]
    if config.token_pool:
        pooled = [up_to_each(x) if causal else x.mean(2, keepdim=True) for x in anchors]
    shape = pooled[0].shape[2:]
    pooled = [*pooled, *(x for x, _ in sources)]
    mu, sigma = ([f(k) for k in range(len(pooled))] for f in (exchange.statistics.mean, exchange.statistics.std))
    y0 = [(x.flatten(2).mT - mu[k]) / sigma[k] for k, x in enumerate(pooled)]
    for k, (_, present) in enumerate(sources, len(anchors)):
        y0[k] = y0[k] * present[:, None, None]
    points = [number for number, tap in enumerate(resonator.taps) if tap.point and not config.token_pool]
    V, U, b = ({pair: couplings.of(pair)[which] for pair in couplings.pairs} for which in range(3))

    def phi(number: int, h: Tensor) -> Tensor:
        kernel = exchange.phi.kernel
        if kernel is not None:
            maps = h.mT.unflatten(2, shape)
            step = depthwise(maps, kernel[number * rank : (number + 1) * rank], exchange.prefix)
            h = (maps + step).flatten(2).mT
        return ACT[config.activation](h)

    def gate(number: int) -> Tensor:
        if config.gate == "position":
            net, every = resonator.gate, torch.cat(y0, dim=2)
            h = F.gelu(every @ net.hidden.weight.T + net.hidden.bias)
            return 1 / (1 + torch.exp(-(h * net.out.weight[number]).sum(2, keepdim=True) - net.out.bias[number]))
        weight = resonator.gate.weight[:, number]
        z = [y.mean(1, keepdim=True) for y in y0]
        if causal:
            z = y0 if config.token_pool else [up_to_each(y.mT).mT for y in y0]
        return 2 / (1 + torch.exp(-(torch.cat(z, dim=2) * weight).sum(2, keepdim=True)))

    numbers = {pair: number for number, pair in enumerate(couplings.pairs)}
    phis = {pair: lambda h, number=number: phi(number, h) for pair, number in numbers.items()}
    gates = {pair: 1.0 if resonator.gate is None else gate(number) for pair, number in numbers.items()}
    for k, (_, present) in enumerate(sources, len(anchors)):
        gates |= {pair: gates[pair] * present[:, None, None] for pair in numbers if pair.source == k}

    def written(T: int) -> list[Tensor]:
        options = {"damping": config.damping, "strength": exchange.strength, "feedback": config.feedback}
        found = reference.resonate(y0, V, U, b, phis, gates, T=T, points=points, **options)
        return [sigma[tap] * delta for tap, delta in enumerate(found[: len(anchors)])]

    after = [written(T) for T in range(1, config.T + 2)]
    residuals = []
    for now, following in pairwise(after):
        row = []
        for tap in exchange.targets:
            here = slice(1) if tap in points else slice(None)  # a point has one position
            old = now[tap][:, here]
            moved = (following[tap][:, here] - old) / config.damping  # of the undamped step
            row.append(moved.flatten(1).norm(dim=1) / ((old + moved).flatten(1).norm(dim=1) + 1e-6))
        residuals.append(torch.stack(row))
    refined = []
    for tap in taps:
        delta = after[config.T - 1][tap].mT.unflatten(2, shape)
        refined.append(anchors[tap] + up(delta, anchors[tap], resonator.taps[tap]))
    return refined, torch.stack(residuals)
