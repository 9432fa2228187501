"""Networks written by hand: every layout of activations, and forms of control flow that structure rules do not know."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from benchmarks.backbones.entry import Entry, images


def _conv(n_in: int, n_out: int, stride: int = 2, dims: int = 2) -> nn.Sequential:
    convolution, norm = (
        (nn.Conv1d, nn.BatchNorm1d),
        (nn.Conv2d, nn.BatchNorm2d),
        (nn.Conv3d, nn.BatchNorm3d),
    )[dims - 1]
    return nn.Sequential(convolution(n_in, n_out, 3, stride, 1), norm(n_out), nn.ReLU())


class Pooled(nn.Module):
    """Three stages of convolutions over `dims` dimensions, then the mean and a linear head."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.layer1, self.layer2 = _conv(3, 8, dims=dims), _conv(8, 12, dims=dims)
        self.layer3, self.fc = _conv(12, 16, dims=dims), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.fc(self.layer3(self.layer2(self.layer1(x))).flatten(2).mean(2))


class ModuleUNet(nn.Module):
    """A U-Net whose skips are outputs of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2, self.neck = _conv(3, 8, 1), _conv(8, 12), _conv(12, 16)
        self.dec2, self.dec1, self.out = _conv(28, 12, 1), _conv(20, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps at the input's resolution."""
        one = self.enc1(x)
        two = self.enc2(one)
        up = self.dec2(torch.cat([interpolate(self.neck(two), scale_factor=2.0), two], 1))
        return self.out(self.dec1(torch.cat([interpolate(up, scale_factor=2.0), one], 1)))


class FunctionalUNet(nn.Module):
    """A U-Net whose skips branch off behind functional ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2 = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 12, 3, 1, 1)
        self.neck, self.dec2 = nn.Conv2d(12, 16, 3, 1, 1), nn.Conv2d(28, 12, 3, 1, 1)
        self.dec1, self.out = nn.Conv2d(20, 8, 3, 1, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps at the input's resolution."""
        one = relu(self.enc1(x))
        two = relu(self.enc2(max_pool2d(one, 2)))
        deep = relu(self.neck(max_pool2d(two, 2)))
        up = relu(self.dec2(torch.cat([interpolate(deep, scale_factor=2.0), two], 1)))
        return self.out(relu(self.dec1(torch.cat([interpolate(up, scale_factor=2.0), one], 1))))


class Pyramid(nn.Module):
    """A feature pyramid: three stages, all of which the way down reads; the output is a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3 = _conv(3, 8), _conv(8, 12), _conv(12, 16)
        self.lateral = nn.ModuleList([nn.Conv2d(width, 8, 1) for width in (8, 12, 16)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps of three resolutions."""
        one = self.layer1(x)
        two = self.layer2(one)
        three = self.layer3(two)
        top = self.lateral[2](three)
        middle = self.lateral[1](two) + interpolate(top, scale_factor=2.0)
        return {"p1": self.lateral[0](one) + interpolate(middle, scale_factor=2.0), "p2": middle, "p3": top}


class DictOutput(nn.Module):
    """A network whose output is a dict of two answers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3 = _conv(3, 8), _conv(8, 12), _conv(12, 16)
        self.classes, self.box = nn.Linear(16, 5), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Classes and boxes."""
        features = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
        return {"classes": self.classes(features), "box": self.box(features)}


class Reuse(nn.Module):
    """A network that runs one block twice; the taps run once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.middle, self.late = _conv(3, 8), _conv(8, 8, 1), _conv(8, 12), _conv(12, 16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        return self.fc(self.late(self.middle(self.shared(self.shared(self.stem(x))))).mean((2, 3)))


class Branching(nn.Module):
    """Control flow that depends on the data, behind the last tap, so that no tracer gets through.

    Nothing of it lets samples meet: every sample is multiplied by its own sign.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2, self.layer3 = _conv(3, 8), _conv(8, 12), _conv(12, 16)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        features = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
        return torch.stack([self.fc(f) if float(f.sum()) > 0 else -self.fc(f) for f in features])


class BranchingUNet(nn.Module):
    """A U-Net that no tracer gets through: the skips must be served without a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.net = FunctionalUNet()

    def forward(self, x: Tensor) -> Tensor:
        """Maps at the input's resolution."""
        if float(x.abs().max()) > 1e6:
            x = x / x.abs().max()
        return self.net(x)


class ChannelsLast(nn.Module):
    """Linear layers and layer norms over maps (B, H, W, C), with convolutions that keep that layout between stages."""

    def __init__(self, widths: tuple[int, ...] = (8, 12, 16)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 2, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(a), nn.Linear(a, b), nn.GELU()) for a, b in pairwise((widths[0], *widths))
        )
        self.norm, self.fc = nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        x = self.stem(x).permute(0, 2, 3, 1)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number < len(self.stages) - 1:
                x = x[:, ::2, ::2]
        return self.fc(self.norm(x).mean((1, 2)))


class Sequence(nn.Module):
    """An `nn.TransformerEncoder` on vectors, with or without the batch first."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """An answer for every position."""
        return self.out(self.encoder(x))


class Recurrent(nn.Module):
    """Three recurrent layers with linear layers between them, which are the taps."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], batch_first: bool) -> None:
        super().__init__()
        self.rnn = nn.ModuleList(kind(16, 16, batch_first=batch_first) for _ in range(3))
        self.mix = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(3))
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """An answer for every position."""
        for rnn, mix in zip(self.rnn, self.mix, strict=True):
            x = mix(rnn(x)[0])
        return self.out(x)


class RecurrentTaps(nn.Module):
    """Two recurrent layers whose outputs are tuples; tapping them is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.LSTM(16, 16, batch_first=True), nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """An answer for every position."""
        return self.out(self.two(self.one(x)[0])[0])


def _sequential() -> nn.Module:
    return nn.Sequential(
        _conv(3, 8), _conv(8, 12), _conv(12, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    )


def _mlp() -> nn.Module:
    widths = (10, 16, 24, 32)
    blocks = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*blocks, nn.Linear(32, 5))


def _normal(*shape: int) -> Callable[[int], Tensor]:
    return lambda samples: torch.randn(samples, *shape)


def _net(name: str, make: Callable[[], nn.Module], inputs: Callable[[int], Any], layers: str, **facts: Any) -> Entry:
    return Entry(name, "plain", make, inputs, tuple(layers.split()), fast=True, **facts)


STAGES = "layer1 layer2 layer3"
SIDES = {"causal": False}
"""Options of networks whose example holds neither images nor token numbers."""
ENCODER = "encoder.layers.1 encoder.layers.3 encoder.layers.5"

NETS = [
    _net("sequential", _sequential, images(16), "0 1 2"),
    _net("mlp", _mlp, _normal(10), "0 1 2"),
    _net("convolutions_1d", lambda: Pooled(1), _normal(3, 32), STAGES, layout="BCN", options=SIDES),
    _net("convolutions_1d_square", lambda: Pooled(1), _normal(3, 64), STAGES, layout="BCN", options=SIDES),
    _net("convolutions_3d", lambda: Pooled(3), _normal(3, 8, 8, 8), STAGES),
    _net("unet_modules", ModuleUNet, images(16), "enc1 enc2 neck"),
    _net("unet_functional", FunctionalUNet, images(16), "enc1 enc2 neck"),
    _net("unet_untraceable", BranchingUNet, images(16), "net.enc1 net.enc2 net.neck"),
    _net("pyramid", Pyramid, images(16), STAGES),
    _net("dict_output", DictOutput, images(16), STAGES),
    _net("block_twice", Reuse, images(16), "stem middle late"),
    _net("branching", Branching, images(16), STAGES),
    _net("channels_last", ChannelsLast, images(32), "stages.0 stages.1 stages.2", layout="BHWC", channels=(8, 12, 16)),
    _net(
        "channels_last_square",
        lambda: ChannelsLast((16, 16, 16)),
        images(32),
        "stages.0 stages.1 stages.2",
        layout="BHWC",
        channels=(16, 16, 16),
    ),
    _net("encoder_batch_first", lambda: Sequence(True), _normal(7, 16), ENCODER, options=SIDES),
    _net(
        "encoder_sequence_first",
        lambda: Sequence(False),
        lambda samples: torch.randn(7, samples, 16),
        ENCODER,
        layout="NBC",
        axis=1,
        options=SIDES,
    ),
    _net("gru_batch_first", lambda: Recurrent(nn.GRU, True), _normal(7, 16), "mix.0 mix.1 mix.2", options=SIDES),
    _net(
        "lstm_sequence_first",
        lambda: Recurrent(nn.LSTM, False),
        lambda samples: torch.randn(7, samples, 16),
        "mix.0 mix.1 mix.2",
        layout="NBC",
        axis=1,
        options=SIDES,
    ),
    _net("lstm_taps", RecurrentTaps, _normal(7, 16), "one two", options=SIDES),
]
