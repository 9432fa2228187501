"""The two entry points: wrap a backbone, or load an adapter that was trained on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dynaxx.backbone import stated_input
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.model.loading import new_adapter, read_adapter
from dynaxx.model.resonant_model import ResonantModel


def wrap_with_resonance(
    base_model: nn.Module,
    layers: Sequence[int | str] | str = (2, 3, 4),
    T: int = 5,
    mode: str = "explicit",
    *,
    rank: int = 32,
    damping: float = 0.9,
    activation: str = "gelu",
    example_input: Any = None,
    num_classes: int | None = None,
    **options: Any,
) -> ResonantModel:
    """Couple a few layers of a trained network; the network stays frozen and unchanged.

    >>> backbone = torchvision.models.resnet18().eval()
    >>> model = wrap_with_resonance(backbone, layers=[2, 3, 4], T=5)
    >>> torch.equal(model(images), backbone(images))  # until the couplings are trained
    True

    Args:
        base_model: any network; the network is frozen and in eval mode until `model.remove()` returns it.
        layers: stage numbers (2, 3, 4 is layer2, layer3, layer4 of a ResNet), block numbers counted from 1 (3, 6, 9
            of a ViT's 12), module paths, or "auto" (one from each third of the depth).
        T: iterations of the loop, at least 1.
        mode: "explicit" runs the loop, "implicit" predicts the loop's final state in one pass.
        rank: number of channels of a message.
        damping: weight λ in (0, 1] of the new message in each iteration.
        activation: nonlinearity of the messages: gelu, silu, relu, tanh or identity.
        example_input: a tensor, tuple or dict from which the layers' shapes are learned. Without an example,
            shapes come from the input size that timm and torchvision models state, else from the first forward pass.
        num_classes: outputs of a new linear head; None keeps the backbone's.
        **options: any other field of `ResonanceConfig`.

    Raises:
        ResonanceError: an option, layer or mode that does not exist or fit; the message names valid values.
    """
    if not isinstance(base_model, nn.Module):
        raise ResonanceError(f"base_model: {type(base_model).__name__} is no torch.nn.Module; give one")
    if isinstance(base_model, ResonantModel):
        raise ResonanceError("base_model: it is resonant already; call its remove() first, or wrap its backbone")
    named = {"T": T, "mode": mode, "rank": rank, "damping": damping, "activation": activation}
    config = ResonanceConfig.from_options(named | {"num_classes": num_classes} | options)
    adapter, call = new_adapter(base_model, layers, config, example_input)
    model = ResonantModel(base_model, adapter)
    if call is not None:
        try:
            model.build(call)
        except Exception:
            model.remove()  # a wrap that fails leaves the user's model as it was
            raise
    return model


def load_resonance(base_model: nn.Module, directory: str | Path) -> ResonantModel:
    """Wrap `base_model` with the adapter in `directory`, which `save_pretrained` wrote; the logits are the saved
    model's.

    >>> model = load_resonance(torchvision.models.resnet18(), "adapter")

    Raises:
        ResonanceError: a missing, damaged or foreign file, or a base model whose layers do not fit it.
    """
    model = ResonantModel(base_model, read_adapter(base_model, directory))
    if (stated := stated_input(base_model)) is not None:
        try:
            model.read(stated)  # taps of another width are refused here, not in the first batch
        except ResonanceError:
            model.remove()
            raise
        except Exception:  # the network takes another size than it states
            pass
    return model
