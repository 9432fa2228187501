"""The bottleneck φ(h) = act(h + D * h) that every message passes, and how much it can stretch.

Shape suffixes: B batch, P positions of the grid, R message channels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, ...]
"""(height, width) of a map, or (tokens,) of a sequence."""

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
    """φ(h) = act(h + D * h), `D` a depthwise kernel that starts at zero (docs/theory.md#anchored).

    On maps `D` is 3x3 with zero padding. On sequences it is 3 wide and causal: a position hears itself and the
    two before it, never one after it; the first `prefix` positions (class tokens) hear and are heard by none.
    """

    centre: Tensor

    def __init__(self, channels: int, activation: str, depthwise: bool, tokens: bool, prefix: int = 0) -> None:
        super().__init__()
        self.prefix = prefix
        self.activation = activation
        self.tokens = tokens
        kernel = (channels, 1, 3) if tokens else (channels, 1, 3, 3)
        self.kernel = nn.Parameter(torch.zeros(kernel)) if depthwise else None
        centre = torch.zeros(kernel[2:])  # δ
        centre[(-1,) if tokens else (1, 1)] = 1.0
        self.register_buffer("centre", centre, persistent=False)

    def forward(self, h_BPR: Tensor, grid: Grid, part: slice = slice(None), response: Tensor | None = None) -> Tensor:
        """φ(h) of the message channels `part`.

        Args:
            response: their `response()`, from a loop that asks for it once; None works it out.
        """
        response = self.response(part) if response is None else response
        return ACTIVATIONS[self.activation](h_BPR if response is None else self._convolve(h_BPR, response, grid))

    def response(self, part: slice = slice(None)) -> Tensor | None:
        """δ + D of the message channels `part`: h + D * h is (δ + D) * h, in one pass over the messages instead of two.

        None without a depthwise step.
        """
        return None if self.kernel is None else self.kernel[part] + self.centre

    def _convolve(self, h_BPR: Tensor, kernel: Tensor, grid: Grid) -> Tensor:
        batch, positions, channels = h_BPR.shape
        if self.tokens:
            if positions <= self.prefix:
                return h_BPR
            padded = F.pad(h_BPR[:, self.prefix :].transpose(1, 2), (2, 0))
            out_BPR = F.conv1d(padded, kernel, groups=channels).transpose(1, 2)
            return torch.cat([h_BPR[:, : self.prefix], out_BPR], dim=1) if self.prefix else out_BPR
        # positions first and channels last in memory is what channels_last means to torch: no copy is made
        h_BRHW = h_BPR.reshape(batch, *grid, channels).permute(0, 3, 1, 2)
        out_BRHW = F.conv2d(h_BRHW, kernel, padding=1, groups=channels)
        return out_BRHW.permute(0, 2, 3, 1).reshape(batch, positions, channels)

    def stretch(self) -> Tensor | float:
        """How much φ can stretch each message channel: Lip(act) · ‖δ + D‖₁, (R,); at most Lip(act) · (1 + ‖D‖₁).

        A convolution stretches no map by more than the absolute sum of its kernel (Young's inequality).
        """
        response = self.response()
        if response is None:
            return LIPSCHITZ[self.activation]
        stretch_R = response.abs().flatten(1).sum(1)
        if self.prefix:
            stretch_R = stretch_R.clamp_min(1.0)  # which is how much the tokens that it leaves out are stretched
        return LIPSCHITZ[self.activation] * stretch_R
