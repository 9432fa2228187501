"""Networks of one pass over the positions of the grid: what a user would build instead of a loop.

    convolutions   h_0 = 0,   h_i = g_i ⊙ (h_{i-1} + act(K_i * h_{i-1} + V_i y⁰)),   o = W [h_L, y⁰]
    U-Net          the same at half and at a quarter of the resolution, with skips between equal resolutions

`y⁰` are the standardised anchors of all taps and the sources. As in the loop every layer reads them again, and a gate
per position can stop what passes, g_i = σ(G_i y⁰): nothing that the loop has is missing but its shared weights.

Shape suffixes: B batch, P positions of the grid, C channels of all taps and sources, W channels of a layer, K outputs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dynaxx import Anchors, ResonantModel, load_resonance
from dynaxx.model import as_map, size_of
from dynaxx.resonance import ACTIVATIONS

WEIGHTS = "grid.safetensors"
OPEN = 2.0
"""Where gates start: σ(2) = 0.88."""


class Layer(nn.Module):
    """g ⊙ (h + act(K * h + V y⁰)): one convolution, gated per position."""

    def __init__(self, width: int, channels: int, dilation: int, activation: str) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.recall = nn.Conv2d(channels, width, 1, bias=False)
        self.gate = nn.Conv2d(channels, 1, 1)
        with torch.no_grad():
            self.gate.weight.zero_()
            self.gate.get_parameter("bias").fill_(OPEN)
        self.activation = activation

    def forward(self, h_BWhw: Tensor, y_BChw: Tensor) -> Tensor:
        """The next h, (B, W, h, w)."""
        step = ACTIVATIONS[self.activation](self.kernel(h_BWhw) + self.recall(y_BChw))
        return torch.sigmoid(self.gate(y_BChw)) * (h_BWhw + step)


class Convolutions(nn.Module):
    """Layers one after another, with these dilations.

    >>> Convolutions(8, 40, (1, 2, 4), "gelu")(torch.zeros(1, 40, 16, 16)).shape
    torch.Size([1, 8, 16, 16])
    """

    def __init__(self, width: int, channels: int, dilations: Sequence[int], activation: str) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(Layer(width, channels, dilation, activation) for dilation in dilations)

    def forward(self, y_BChw: Tensor) -> Tensor:
        """h_L of the standardised anchors, (B, W, h, w)."""
        h_BWhw = y_BChw.new_zeros(len(y_BChw), self.width, *y_BChw.shape[2:])
        for layer in self.layers:
            h_BWhw = layer(h_BWhw, y_BChw)
        return h_BWhw


class UNet(nn.Module):
    """Layers at full, half and quarter resolution and back, with sums of equal resolutions (Ronneberger et al. 2015).

    >>> UNet(8, 40, "gelu")(torch.zeros(1, 40, 16, 16)).shape
    torch.Size([1, 8, 16, 16])
    """

    def __init__(self, width: int, channels: int, activation: str) -> None:
        super().__init__()
        self.width = width
        self.down = nn.ModuleList(Layer(width, channels, 1, activation) for _ in range(3))
        self.up = nn.ModuleList(Layer(width, channels, 1, activation) for _ in range(2))

    def forward(self, y_BChw: Tensor) -> Tensor:
        """h_L of the standardised anchors, (B, W, h, w)."""
        scales = [y_BChw]
        for _ in self.up:
            scales.append(F.avg_pool2d(scales[-1], 2, ceil_mode=True))
        h = y_BChw.new_zeros(len(y_BChw), self.width, *y_BChw.shape[2:])
        kept: list[Tensor] = []
        for layer, y in zip(self.down, scales, strict=True):
            h = layer(h if not kept else F.max_pool2d(h, 2, ceil_mode=True), y)
            kept.append(h)
        for layer, y, skip in zip(self.up, scales[-2::-1], kept[-2::-1], strict=True):
            h = layer(skip + F.interpolate(h, size=y.shape[2:], mode="bilinear", align_corners=False), y)
        return h


class GridNetwork(nn.Module):
    """Images and sources to maps, by one of the networks above on a frozen backbone's taps.

    Args:
        reader: resonant model that reads the taps and standardises them; it is neither trained nor kept with the
            network.
        inner: the network on the grid.
        outputs: K.
        size: height and width of the maps where the taps are given instead of images.
    """

    def __init__(self, reader: ResonantModel, inner: Convolutions | UNet, outputs: int, size: Sequence[int]) -> None:
        super().__init__()
        self._reader, self.inner, self.size = (reader,), inner, tuple(size)
        channels = sum(reader.require_built().exchange.channels)
        self.out = nn.Conv2d(inner.width + channels, outputs, 1)
        self.config = reader.config  # whose sources it reads

    @property
    def reader(self) -> ResonantModel:
        """The model that reads the taps."""
        return self._reader[0]

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move the reader along when the module changes its device or type."""
        self.reader._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, x: Tensor | Anchors, sources: Mapping[str, Tensor] | None = None) -> Tensor:
        """Maps (B, K, H, W) of images (B, 3, H, W) with their sources, or of anchors that hold theirs."""
        size = self.size if isinstance(x, Anchors) else size_of((x,), 2)
        with torch.no_grad():
            anchors = x if isinstance(x, Anchors) else self.reader.with_sources(self.reader.read(x), sources or {})
            y_BPC, _ = self.reader.require_built().exchange.standardised(anchors)
        positions = max(y.shape[1] for y in y_BPC)
        y_BCP = torch.cat([y.expand(-1, positions, -1) for y in y_BPC], dim=2).transpose(1, 2)
        y_BChw = y_BCP.unflatten(2, anchors.grid)
        out_BKhw = self.out(torch.cat([self.inner(y_BChw), y_BChw], dim=1))
        return as_map(out_BKhw.flatten(2).transpose(1, 2), anchors.grid, size)


def inner_network(
    reader: ResonantModel, width: int, options: Mapping[str, Any], activation: str
) -> Convolutions | UNet:
    """The network on the grid: convolutions where `options` has dilations, such as "1,2,4", else a U-Net.

    >>> inner_network(reader, 8, {"dilations": "1,1"}, "gelu").width
    8
    """
    channels = sum(reader.require_built().exchange.channels)
    if "dilations" not in options:
        return UNet(width, channels, activation)
    return Convolutions(width, channels, [int(number) for number in options["dilations"].split(",")], activation)


def save_grid_network(folder: Path, network: GridNetwork) -> None:
    """Write the network's weights, and its reader as an adapter."""
    network.reader.save_pretrained(folder)
    save_file({name: x.detach().cpu().contiguous() for name, x in network.state_dict().items()}, folder / WEIGHTS)


def load_grid_network(folder: Path, backbone: nn.Module, notes: Mapping[str, Any]) -> GridNetwork:
    """Read a network of `save_grid_network`, on its own copy of the backbone.

    >>> load_grid_network(folder, backbone, {"width": 8, "activation": "tanh", "dilations": "1,1"})  # doctest: +SKIP

    Args:
        notes: facts of its record, which say what was built.
    """
    reader, tensors = load_resonance(backbone, folder), load_file(folder / WEIGHTS)
    inner = inner_network(reader, notes["width"], notes, notes["activation"])
    network = GridNetwork(reader, inner, len(tensors["out.bias"]), (0, 0))
    network.load_state_dict(tensors)
    return network
