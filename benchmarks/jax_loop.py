"""The loop of `dynaxx.resonance.loop` in JAX: `lax.scan` over its steps, compiled, on the CPU.

    c ← (1-λ) c + λ φ(p + c Gᵀ),    φ(h) = gelu(h + D * h)

Shape suffixes: B batch, H and W the grid, R message channels.
"""

import jax
import jax.numpy as jnp
import torch
from jax import lax
from torch import Tensor, nn

jax.config.update("jax_platforms", "cpu")


class JaxLoop(nn.Module):
    """The messages after `T` damped steps, as a module that can be timed like the others.

    >>> c_BHWR = JaxLoop(p_BHWR, Gt_RR, kernel_R133, T=5, damping=0.5)(p_BHWR)

    Args:
        p_BHWR: projected anchors.
        Gt_RR: transposed feedback matrix Gᵀ.
        kernel_R133: kernel δ + D of every channel.
        T: number of steps; the first starts from c = 0.
        damping: damping λ.
    """

    def __init__(self, p_BHWR: Tensor, Gt_RR: Tensor, kernel_R133: Tensor, T: int, damping: float) -> None:
        super().__init__()
        G, kernel = _jax(Gt_RR), _jax(kernel_R133[:, 0].permute(1, 2, 0))
        self.p = _jax(p_BHWR)

        def phi(h: jax.Array) -> jax.Array:
            # XLA fuses nine shifted products with the next operations; its grouped convolution is several times slower
            height, width = h.shape[1:3]
            padded = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)))
            windows = [padded[:, i : i + height, j : j + width] * kernel[i, j] for i in range(3) for j in range(3)]
            return jax.nn.gelu(sum(windows[1:], windows[0]), approximate=False)

        def run(p: jax.Array) -> jax.Array:
            def step(c: jax.Array, _: None) -> tuple[jax.Array, None]:
                return c + damping * (phi(p + c @ G) - c), None

            return lax.scan(step, damping * phi(p), None, length=T - 1)[0]

        self.run = jax.jit(run)

    def forward(self, x: Tensor) -> Tensor:
        """The messages c_T, (B, H, W, R), after the computation has finished; `x` is ignored in favour of p_BHWR."""
        del x
        return torch.from_dlpack(self.run(self.p).block_until_ready())


def _jax(x: Tensor) -> jax.Array:
    return jnp.asarray(x.detach().numpy())
