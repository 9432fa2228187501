"""The gradient at a fixed point, without storing the iterations that reached the point.

At c* = F(c*, θ) the implicit function theorem gives dc*/dθ = (I - J)⁻¹ ∂F/∂θ with J = ∂F/∂c at c*. The backward pass
solves v = ∂L/∂c* + Jᵀ v by iteration and passes v to ∂F/∂θ. The memory is that of one evaluation of F, for any number
of iterations T (Bai, Kolter and Koltun 2019). The formula holds only at the fixed point, so the loop must have
converged.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from dynaxx.errors import ResonanceWarning
from dynaxx.fixed_point.iteration import Update

STEPS = 500
"""Maximum number of iterations of the backward solve."""


def at_fixed_point(solve: Callable[[], Tensor], update: Update) -> Tensor:
    """The state that `solve` returns, with the gradient of the fixed point of `update`.

    >>> a = torch.tensor([[[0.5]]], requires_grad=True)  # c = a c + 1 has the fixed point 1 / (1 - a)
    >>> c = at_fixed_point(lambda: torch.full((1, 1, 1), 2.0), lambda c: a * c + 1)
    >>> c.sum().backward()
    >>> round(float(a.grad), 4)
    4.0

    Args:
        solve: function that runs the iteration; called without gradients.
        update: the function F, whose parameters receive the gradient.
    """
    with torch.no_grad():
        c_BPR = solve()
    if not torch.is_grad_enabled():
        return c_BPR
    new_BPR = update(c_BPR)
    if not new_BPR.requires_grad:
        return c_BPR
    at_BPR = c_BPR.detach().requires_grad_()
    again_BPR = update(at_BPR)

    def adjoint(grad_BPR: Tensor) -> Tensor:
        v_BPR = grad_BPR
        tolerance = 10 * torch.finfo(grad_BPR.dtype).eps
        for _ in range(STEPS):
            (through,) = torch.autograd.grad(again_BPR, at_BPR, v_BPR, retain_graph=True)
            next_BPR = grad_BPR + through
            moved, v_BPR = (next_BPR - v_BPR).norm(), next_BPR
            if not torch.isfinite(moved):
                break
            if moved <= tolerance * v_BPR.norm():
                return v_BPR
        warnings.warn(
            f"gradient='implicit': the backward solve did not converge in {STEPS} iterations: the loop does not "
            "contract there; use stability='certified' or gradient='unrolled'",
            ResonanceWarning,
            stacklevel=2,
        )
        return v_BPR

    new_BPR.register_hook(adjoint)
    return c_BPR + (new_BPR - new_BPR.detach())
