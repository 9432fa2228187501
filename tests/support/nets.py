"""Networks for the tests of the core, small unless a test needs the real one."""

import dataclasses
from collections.abc import Callable, Sequence

import timm
import torch
import torchvision
from torch import Tensor, nn

from dynaxx import Anchors, ResonanceConfig, ResonanceOutput, ResonantModel, wrap_with_resonance
from dynaxx.grid import Tap
from dynaxx.resonance import Resonator


def small_vit() -> nn.Module:
    """torchvision starts its head at zero, through which no gradient passes; a trained one is not zero."""
    model = torchvision.models.VisionTransformer(32, 8, 12, 2, 32, 64)
    nn.init.normal_(model.heads.head.weight, std=0.1)
    return model


ZOO: dict[str, tuple[Callable[[], nn.Module], list, int]] = {
    "torchvision resnet18": (lambda: torchvision.models.resnet18(), [2, 3, 4], 64),
    "torchvision resnet50": (lambda: torchvision.models.resnet50(), [2, 3, 4], 64),
    "torchvision efficientnet_b0": (lambda: torchvision.models.efficientnet_b0(), [2, 4, 6], 64),
    "torchvision convnext_tiny": (lambda: torchvision.models.convnext_tiny(), [2, 3, 4], 64),
    "torchvision small ViT": (
        lambda: small_vit(),
        [3, 6, 9],
        32,
    ),
    "timm resnet18": (lambda: timm.create_model("resnet18"), [2, 3, 4], 64),
    "timm resnet50": (lambda: timm.create_model("resnet50"), [2, 3, 4], 64),
    "timm efficientnet_b0": (lambda: timm.create_model("efficientnet_b0"), [2, 4, 6], 64),
    "timm convnext_tiny": (lambda: timm.create_model("convnext_tiny"), [2, 3, 4], 64),
    "timm small ViT": (
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, num_heads=2),
        [3, 6, 9],
        32,
    ),
}
"""name → (maker, layers, image side)."""


class Plain(nn.Module):
    """A hand-written network that nobody's structure rules know, with an in-place ReLU behind its first tap."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(3, 6, 3, padding=1)
        self.early = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.middle = nn.Sequential(nn.Conv2d(8, 10, 3, stride=2, padding=1), nn.BatchNorm2d(10), nn.ReLU())
        self.late = nn.Sequential(nn.Conv2d(10, 12, 3, padding=1), nn.ReLU())
        self.answer = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.early(self.entry(x)))
        return self.answer(self.late(self.middle(x)).mean((2, 3)))


PLAIN_TAPS = ["early", "middle", "late"]


def taps_of(channels: Sequence[int], tokens: bool = False, **facts: object) -> list[Tap]:
    """Taps of these widths, as a first pass finds them."""
    return [Tap(f"tap{n}", width, "BNC" if tokens else "BCHW", False, **facts) for n, width in enumerate(channels)]


def refined(
    resonator: Resonator, pooled: list[Tensor], grid: tuple[int, ...], config: ResonanceConfig, *, trace: bool = False
) -> ResonanceOutput:
    """The output of a resonator of maps at the grid's own resolution for these anchors."""
    anchors = Anchors(pooled, [pooled[tap] for tap in resonator.exchange.outputs], grid)
    return resonator(anchors, config, trace=trace)


def resonator_of(channels: Sequence[int], config: ResonanceConfig) -> Resonator:
    """A resonator of maps in double precision, which remembers its options for `met`."""
    made = Resonator(taps_of(channels), config).double()
    made.config = config
    return made


def met(
    made: Resonator, pooled: list[Tensor], grid: tuple[int, ...], T: int, *, trace: bool = False
) -> ResonanceOutput:
    """The output of such a resonator after T iterations."""
    return refined(made, pooled, grid, dataclasses.replace(made.config, T=T), trace=trace)


def trained_like(model: nn.Module) -> nn.Module:
    """Every resonance parameter moved away from its start, as training would."""
    for name, parameter in model.named_parameters():
        if "resonator." in name:
            nn.init.normal_(parameter, std=0.2)
    return model


def images(side: int = 16, batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, side, side)


def wrapped(plain: nn.Module, **options: object) -> ResonantModel:
    """A `Plain` with a small loop on its three taps."""
    options = {"T": 3, "rank": 4, "example_input": images()[:1]} | options
    return wrap_with_resonance(plain, PLAIN_TAPS, **options)


class UNet(nn.Module):
    """Two levels; the decoder reads both encoders' outputs, and a buffer that no module owns."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.enc2 = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.neck = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.up2 = nn.ConvTranspose2d(8, 6, 2, 2)
        self.dec2 = nn.Sequential(nn.Conv2d(12, 6, 3, padding=1), nn.ReLU())
        self.up1 = nn.ConvTranspose2d(6, 4, 2, 2)
        self.dec1 = nn.Conv2d(8, 2, 1)
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        one = self.enc1(x)
        two = self.enc2(nn.functional.max_pool2d(torch.relu(one), 2))
        neck = self.neck(nn.functional.max_pool2d(two, 2))
        up = self.dec2(torch.cat([self.up2(neck), two], 1))
        return self.dec1(torch.cat([self.up1(up), one], 1)) + self.shift


UNET_TAPS = ["enc1", "enc2", "neck"]


class Mixed(nn.Module):
    """Maps, their pooled embedding, and a transformer on their positions, with the embedding as its class token."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.GELU())
        self.deep = nn.Sequential(nn.Conv2d(5, 8, 3, stride=2, padding=1), nn.GELU())
        self.embed = nn.Linear(8, 8)
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True) for _ in range(2)))
        self.answer = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.deep(self.stem(x))
        embedding = self.embed(maps.mean((2, 3)))
        tokens = torch.cat([embedding[:, None], maps.flatten(2).transpose(1, 2)], dim=1)
        return self.answer(self.blocks(tokens)[:, 0])


MIXED_TAPS = ["stem", "deep", "embed", "blocks.0", "blocks.1"]
MIXED = {"prefix_tokens": 1}
"""Taps of every kind, and the option that says which token has no position."""


def distilled(model: ResonantModel, *args: object, **kwargs: object) -> list[float]:
    """The student's loss in 30 steps of training on one batch."""
    optimizer = torch.optim.Adam(model.resonator.student.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        with model.train().observed() as outputs:
            model(*args, **kwargs)
        loss = outputs[0].distillation_loss(1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
