"""The formula of cross-layer resonance, letter by letter; the rest of this folder computes the same, only faster.

    y_k  = y_k⁰ + α s Σ_{j≠k} c_kj U_kj                            what tap k holds, in standard deviations
    c_lk ← (1-λ) c_lk + λ g_lk φ_lk(y_k V_lk + b_lk),   c_lk = 0   the message from tap k to tap l, of rank r
    x_l  = x_l⁰ + s σ_l Σ_{k≠l} c_lk U_lk                          what the rest of the network reads at tap l

Activations have their channels last, so a matrix stands to the right. The dictionaries have one entry per coupling (l,
k). Shapes: y_k (B, P, C_k), V_lk (C_k, r), b_lk (r,), c_lk (B, P, r), U_lk (r, C_l), g_lk (B, 1 or P, 1).

A source stands in y0 behind the taps, and no pair has it as its target l. A point (a tap without positions) stands in
y0 at all positions, and the mean over positions is written to it.
"""

from collections.abc import Callable, Collection, Sequence

from torch import Tensor

Pair = tuple[int, int]  # (l, k)


def resonate(
    y0: Sequence[Tensor],
    V: dict[Pair, Tensor],
    U: dict[Pair, Tensor],
    b: dict[Pair, Tensor],
    phi: dict[Pair, Callable[[Tensor], Tensor]],
    g: dict[Pair, Tensor] | None = None,
    *,
    T: int,
    damping: float,
    strength: Tensor | float,
    feedback: float = 1.0,
    points: Collection[int] = (),
) -> list[Tensor]:
    """(x_l - x_l⁰) / σ_l of every tap after T iterations."""
    c = {(l, k): y0[k].new_zeros(*y0[k].shape[:2], V[l, k].shape[1]) for l, k in V}

    def written(tap: int) -> Tensor:
        delta = sum((strength * c[l, k] @ U[l, k] for l, k in c if l == tap), start=0 * y0[tap])
        return delta.mean(1, keepdim=True).expand_as(delta) if tap in points else delta

    for _ in range(T):
        y = [y0[k] + feedback * written(k) for k in range(len(y0))]
        new = {(l, k): phi[l, k](y[k] @ V[l, k] + b[l, k]) for l, k in c}
        if g is not None:
            new = {pair: g[pair] * new[pair] for pair in c}
        c = {pair: (1 - damping) * c[pair] + damping * new[pair] for pair in c}
    return [written(tap) for tap in range(len(y0))]
