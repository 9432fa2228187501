"""Exact solution of a linear loop: with identity activation, D = 0 and gates g = 1 the whole loop is one matrix.

    c* = p + G c*   ⟹   Uᵀ c* = Uᵀ (I - G)⁻¹ p

Shape suffixes: R message channels, C channels of the output taps, side by side.
"""

import torch
from torch import Tensor

from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError


@torch.no_grad()
def fold(Gt_RR: Tensor, U_RC: Tensor, config: ResonanceConfig) -> Tensor:
    """The matrix K (R, C) with p @ K = Σ_k U_lk c*_lk at the exact fixed point c*, the limit T → ∞; solved in float64.

    >>> config = ResonanceConfig(activation="identity", depthwise=False)
    >>> fold(torch.tensor([[0.5]]), torch.tensor([[3.0]]), config)  # c* = p / (1 - 0.5), written by 3
    tensor([[6.]])

    Args:
        Gt_RR: Gᵀ, with the factors α s included.
        U_RC: matrix that writes messages into the output taps; rows of messages to other taps are zero.
        config: the options, which must describe a linear loop.

    Raises:
        ResonanceError: a bottleneck that is not linear, a gate, or a loop that diverges from where it starts.
    """
    linear = (("dynamics", "anchored"), ("activation", "identity"), ("depthwise", False), ("gate", "none"))
    for name, wanted in linear:
        value = getattr(config, name)
        if value != wanted:
            raise ResonanceError(f"{name}={value!r}: only a loop with {name}={wanted!r} is one matrix; distil it")
    eye_RR = torch.eye(len(Gt_RR), dtype=torch.float64, device=Gt_RR.device)
    step_RR = torch.lerp(eye_RR, Gt_RR.double(), config.damping)  # of the error in one damped iteration
    radius = float(torch.linalg.eigvals(step_RR).abs().max()) if torch.isfinite(step_RR).all() else float("inf")
    if radius >= 1.0:
        raise ResonanceError(
            f"fold(): the loop diverges (errors grow {radius:.3g}-fold in an iteration), so there is nothing to "
            "fold; train with stability='certified', or lower the feedback"
        )
    return torch.linalg.solve(eye_RR - Gt_RR.double(), U_RC.double()).to(U_RC)
