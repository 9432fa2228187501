"""The formulas of the anchored dynamics letter by letter: full-channel states, one coupling at a time, no tricks."""

import torch
import torch.nn.functional as F
from torch import Tensor

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


def pool(x: Tensor, grid: tuple[int, ...]) -> Tensor:
    return x if x.ndim == 3 else F.adaptive_avg_pool2d(x, grid)


def up_to_each(x: Tensor) -> Tensor:
    """(B, C, N): at each position the mean of it and all before it."""
    return torch.stack([x[:, :, : n + 1].mean(2) for n in range(x.shape[2])], dim=2)


def resonate(engine, anchors: list[Tensor], grid: tuple[int, ...], T: int) -> tuple[list[Tensor], list[list[Tensor]]]:
    """x_l of the seen taps after T iterations, and the relative residual [iteration][tap] -> (B,).

    `anchors` are channels-first: (B, C, H, W), or (B, C, N) for tokens.
    """
    L, lam, r = len(anchors) - 1, engine.config.damping, engine.couplings.rank
    s, alpha = engine.strength, engine.config.feedback
    pairs = engine.couplings.pairs
    U = list(engine.couplings.U)
    if engine.couplings.factor is not None:
        U = [engine.couplings.factor[n] * U[n] for n in range(len(pairs))]
    column = [1] * (anchors[0].ndim - 2)
    mu = [engine.statistics.mean(k).view(1, -1, *column) for k in range(L + 1)]
    sigma = [engine.statistics.std(k).view(1, -1, *column) for k in range(L + 1)]
    y0 = [(pool(x, grid) - mu[k]) / sigma[k] for k, x in enumerate(anchors)]
    if engine.config.token_pool:
        y0 = [(up_to_each(x) if engine.causal else x.mean(2, keepdim=True)) for x in anchors]
        y0 = [(x - mu[k]) / sigma[k] for k, x in enumerate(y0)]
    gate = {}
    for n, pair in enumerate(pairs):
        g = torch.ones(len(y0[0]), 1, *column, dtype=y0[0].dtype)
        if engine.gate is not None and engine.causal:
            seen = torch.cat(y0 if engine.config.token_pool else [up_to_each(y) for y in y0], dim=1)
            g = 2 / (1 + torch.exp(-(seen * engine.gate.weight[:, n, None]).sum(1, keepdim=True)))
        elif engine.gate is not None:
            pooled = torch.cat([y.flatten(2).mean(2) for y in y0], dim=1)
            g = 2 / (1 + torch.exp(-(pooled * engine.gate.weight[:, n]).sum(1))).view(-1, 1, *column)
        gate[pair] = g

    def phi(n: int, h: Tensor) -> Tensor:
        if engine.phi.kernel is not None:
            h = h + depthwise(h, engine.phi.kernel[n * r : (n + 1) * r], engine.prefix)
        return ACT[engine.config.activation](h)

    def times(matrix: Tensor, x: Tensor) -> Tensor:  # matrix (out, in) on the channel axis of x
        return torch.einsum("oi,bi...->bo...", matrix, x)

    def right_hand_side(c: dict) -> dict:
        new = {}
        for n, (_, k) in enumerate(pairs):
            y = y0[k].clone()
            for m, (target2, _) in enumerate(pairs):
                if target2 == k:
                    y = y + alpha * s * times(U[m].T, c[pairs[m]])
            h = times(engine.couplings.V[n].T, y) + engine.couplings.b[n * r : (n + 1) * r].view(1, -1, *column)
            new[pairs[n]] = gate[pairs[n]] * phi(n, h)
        return new

    def delta(c: dict, target: int) -> Tensor:
        written = sum(times(U[n].T, c[p]) for n, p in enumerate(pairs) if p.target == target)
        return s * sigma[target] * written

    c = {pair: torch.zeros(len(y0[0]), r, *y0[-1].shape[2:], dtype=y0[0].dtype) for pair in pairs}
    residuals = []
    for _ in range(T):
        new = right_hand_side(c)
        c = {pair: (1 - lam) * c[pair] + lam * new[pair] for pair in pairs}
        after = right_hand_side(c)
        row = []
        for tap in sorted({pair.target for pair in pairs}):
            moved = (delta(after, tap) - delta(c, tap)).flatten(1).norm(dim=1)
            size = delta(after, tap).flatten(1).norm(dim=1)
            row.append(moved / (size + 1e-6))
        residuals.append(row)
    agreed = []
    for tap in engine.seen:
        out = delta(c, tap)
        if out.ndim == 4:
            out = F.interpolate(out, size=anchors[tap].shape[2:], mode="nearest")
        agreed.append(anchors[tap] + out)
    return agreed, residuals
