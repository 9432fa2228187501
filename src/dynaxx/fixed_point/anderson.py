"""Anderson acceleration: each step combines the last few iterates by least squares.

    γ = argmin ‖g_t - ΔG γ‖,    c ← c + λ g_t - (ΔC + λ ΔG) γ,    g = F(c) - c

ΔC and ΔG hold the last `MEMORY` differences of iterates and of residuals (type II; Walker and Ni 2011). Every sample
solves its own small least-squares problem, so a sample's result does not depend on the rest of the batch.

Shape suffixes: B batch, M memory, N all message values of a sample.
"""

import torch
from torch import Tensor

from dynaxx.fixed_point.iteration import Step

MEMORY = 3
"""Number of past differences that each Anderson step uses."""

RIDGE = 1e-6
"""Ridge on the normal equations, relative to their mean diagonal, for differences that are nearly parallel."""


def anderson(first_BPR: Tensor, damping: float) -> Step:
    """Accelerated steps of one run, which starts at c = 0 with F(0) = `first_BPR`."""
    old = torch.zeros_like(first_BPR), first_BPR
    moves: list[Tensor] = []  # ΔC and ΔG, newest last, flattened to (B, N)
    turns: list[Tensor] = []

    def step(c_BPR: Tensor, new_BPR: Tensor) -> Tensor:
        nonlocal old
        g_BPR = new_BPR - c_BPR
        moves.append((c_BPR - old[0]).flatten(1))
        turns.append((g_BPR - old[1]).flatten(1))
        del moves[:-MEMORY], turns[:-MEMORY]
        old = c_BPR, g_BPR
        return c_BPR + damping * g_BPR - _correction(moves, turns, g_BPR.flatten(1), damping).view_as(c_BPR)

    return step


def _correction(moves: list[Tensor], turns: list[Tensor], g_BN: Tensor, damping: float) -> Tensor:
    """(ΔC + λ ΔG) γ, (B, N); in float32 at least, since half precision solves no normal equations."""
    dtype = torch.promote_types(g_BN.dtype, torch.float32)
    with torch.autocast(g_BN.device.type, enabled=False):
        C_BMN, G_BMN = torch.stack(moves, 1).to(dtype), torch.stack(turns, 1).to(dtype)
        normal_BMM = G_BMN @ G_BMN.mT
        scale = normal_BMM.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        eye = torch.eye(normal_BMM.shape[1], dtype=dtype, device=g_BN.device)
        ridge_BMM = (RIDGE * scale + torch.finfo(dtype).tiny ** 0.5) * eye
        gamma_BM = _solved(normal_BMM + ridge_BMM, (G_BMN @ g_BN.to(dtype)[:, :, None])[:, :, 0])
        return ((C_BMN + damping * G_BMN).mT @ gamma_BM[:, :, None])[:, :, 0].to(g_BN.dtype)


def _solved(A_BMM: Tensor, b_BM: Tensor) -> Tensor:
    """A⁻¹ b for positive definite A of a few rows, by elimination; ONNX has no solver, and needs none for three."""
    rows = [torch.cat([A_BMM[:, m], b_BM[:, m : m + 1]], 1) for m in range(b_BM.shape[1])]
    for m in range(len(rows)):  # a positive definite matrix needs no pivoting
        row = rows[m] / rows[m][:, m : m + 1]
        rows = [row if n == m else other - other[:, m : m + 1] * row for n, other in enumerate(rows)]
    return torch.stack([row[:, -1] for row in rows], 1)
