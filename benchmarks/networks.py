"""The measured backbones, with random weights, and the cases: backbone, batch size and device."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from dynaxx.training.small_resnet import SmallResNet


@dataclass(frozen=True)
class Network:
    """A backbone and its taps.

    >>> NETWORKS["resnet18"].layers
    (2, 3, 4)

    Attributes:
        title: name in the table.
        make: function that builds the network, without a download.
        layers: taps, as stage numbers for `wrap_with_resonance`.
        late: taps close to each other and to the output, so that a reentrant loop repeats only a small part of the
            backbone; None: this arm is not measured.
    """

    title: str
    make: Callable[[], nn.Module]
    layers: tuple[int, ...]
    late: tuple[str, ...] | None = None


NETWORKS = {
    "resnet50": Network("ResNet-50", torchvision.models.resnet50, (2, 3, 4), ("layer3.5", "layer4.1", "layer4.2")),
    "efficientnet_b0": Network("EfficientNet-B0", partial(timm.create_model, "efficientnet_b0"), (2, 4, 6)),
    "efficientnet_lite0": Network("EfficientNet-Lite0", partial(timm.create_model, "tf_efficientnet_lite0"), (2, 4, 6)),
    "vit_b_16": Network("ViT-B/16", partial(timm.create_model, "vit_base_patch16_224"), (4, 8, 12)),
    "small_resnet": Network("SmallResNet", partial(SmallResNet, num_classes=4), (1, 2, 3)),
    "resnet18": Network("ResNet-18", torchvision.models.resnet18, (2, 3, 4), ("layer3.1", "layer4.0", "layer4.1")),
}


@dataclass(frozen=True)
class Case:
    """One backbone at one batch size on one device.

    >>> Case("resnet50", batch=8).title
    'ResNet-50, batch 8, cpu float32'

    Attributes:
        network: key in `NETWORKS`.
        batch: number of images.
        side: height and width of an image in pixels.
        rank: rank of the couplings.
        device: name of the torch device.
        dtype: type of weights and images.
    """

    network: str
    batch: int
    side: int = 224
    rank: int = 32
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def title(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{NETWORKS[self.network].title}, batch {self.batch}, {self.device} {dtype}"

    def images(self) -> Tensor:
        """Random images (batch, 3, side, side)."""
        return torch.randn(self.batch, 3, self.side, self.side).to(self.device, self.dtype)

    def backbone(self) -> nn.Module:
        """The network in eval mode, on the case's device and in its dtype."""
        torch.manual_seed(0)
        model = NETWORKS[self.network].make()
        # with initial batch-norm statistics the signal vanishes in a deep random network
        with torch.no_grad():
            update_bn([torch.randn(8, 3, self.side, self.side)], model)
        return model.to(self.device, self.dtype).eval()


def cases() -> list[Case]:
    """The cases to measure: batch 1 and 8 on the CPU and, if there is a GPU, batch 64 in bfloat16 on it."""
    names = ("resnet50", "efficientnet_b0", "vit_b_16")
    found = [Case(name, batch) for name in names for batch in (1, 8)]
    if torch.cuda.is_available():
        found += [Case(name, 64, device="cuda", dtype=torch.bfloat16) for name in names]
    return found


QUICK = Case("resnet18", 2, side=64, rank=4)
"""A case for tests of the harness, too small for meaningful figures."""
