"""The bottleneck φ(h) = act(h + D * h) of every message, and its Lipschitz constant.

Shape suffixes: B batch, P positions of the grid, R message channels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaxx.grid import Grid

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "silu": F.silu,
    "relu": F.relu,
    "tanh": torch.tanh,
    "identity": lambda h: h,
}

# sup |act'|: GELU's slope Φ(x) + xφ(x) peaks at x = √2; SiLU's peak has no closed form (at x ≈ 2.3994).
LIPSCHITZ: dict[str, float] = {
    "gelu": 0.5 * (1.0 + math.erf(1.0)) + math.exp(-1.0) / math.sqrt(math.pi),
    "silu": 1.0998393195,
    "relu": 1.0,
    "tanh": 1.0,
    "identity": 1.0,
}


class Bottleneck(nn.Module):
    """φ(h) = act(h + D * h), `D` a depthwise kernel that starts at zero.

    On maps of `dims` axes `D` is 3 wide in each, with zero padding. On sequences (`dims` is 0) it is 3 wide and causal:
    a position reads itself and the two before it. The first `prefix` positions (class tokens) are left out of it.
    """

    centre: Tensor

    def __init__(self, channels: int, activation: str, depthwise: bool, dims: int, prefix: int = 0) -> None:
        super().__init__()
        self.channels, self.activation, self.dims, self.prefix = channels, activation, dims, prefix
        kernel = (channels, 1, *[3] * max(dims, 1))
        self.kernel = nn.Parameter(torch.zeros(kernel)) if depthwise else None
        centre = torch.zeros(kernel[2:])  # δ
        centre[(1,) * dims or (-1,)] = 1.0
        self.register_buffer("centre", centre, persistent=False)

    def like(self, channels: int, activation: str) -> "Bottleneck":
        """Another one of the same kind, with its own kernel."""
        return Bottleneck(channels, activation, self.kernel is not None, self.dims, self.prefix)

    def forward(self, h_BPR: Tensor, grid: Grid, part: slice = slice(None), response: Tensor | None = None) -> Tensor:
        """φ(h) of the message channels `part`.

        Args:
            response: `response(part)`, where the caller has computed it already; None computes it.
        """
        response = self.response(part) if response is None else response
        return ACTIVATIONS[self.activation](h_BPR if response is None else self._convolve(h_BPR, response, grid))

    def response(self, part: slice = slice(None)) -> Tensor | None:
        """δ + D of the message channels `part`: h + D * h is (δ + D) * h. None without a depthwise step."""
        return None if self.kernel is None else self.kernel[part] + self.centre

    def _convolve(self, h_BPR: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
        batch, positions, channels = h_BPR.shape
        if not self.dims:
            if positions <= self.prefix:
                return h_BPR
            padded = F.pad(h_BPR[:, self.prefix :].transpose(1, 2), (2, 0))
            out_BPR = F.conv1d(padded, kernel, groups=channels).transpose(1, 2)
            return torch.cat([h_BPR[:, : self.prefix], out_BPR], dim=1) if self.prefix else out_BPR
        # positions first and channels last in memory is what channels_last means to torch: no copy is made
        h_BRHW = h_BPR.reshape(batch, *grid, channels).movedim(-1, 1)
        out_BRHW = (F.conv2d if self.dims == 2 else F.conv3d)(h_BRHW, kernel, padding=1, groups=channels)
        return out_BRHW.movedim(1, -1).reshape(batch, positions, channels)

    def lipschitz(self) -> Tensor | float:
        """Lipschitz constant of φ per message channel: Lip(act) · ‖δ + D‖₁, (R,).

        A convolution's norm is at most the absolute sum of its kernel (Young's inequality).
        """
        response = self.response()
        if response is None:
            return LIPSCHITZ[self.activation]
        norm_R = response.abs().flatten(1).sum(1)
        if self.prefix:
            norm_R = norm_R.clamp_min(1.0)  # the norm on the tokens that the convolution leaves out
        return LIPSCHITZ[self.activation] * norm_R
