"""The two entry points: wrap a backbone, or load an adapter that was trained on it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from dynaxx.backbone import Call, described, stated_input
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError, ResonanceWarning
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
    network = plain_network(base_model)
    named = {"T": T, "mode": mode, "rank": rank, "damping": damping, "activation": activation}
    config = ResonanceConfig.from_options(named | {"num_classes": num_classes} | options)
    adapter, call = new_adapter(network, layers, config, example_input)
    model = ResonantModel(network, adapter, base_model)
    if call is not None:
        try:
            model.build(call)
        except Exception as error:
            model.remove()  # a wrap that fails leaves the user's model as it was
            if not isinstance(error, ResonanceError):
                check_example(network, call, stated=example_input is None)
            raise
    return model


def load_resonance(base_model: nn.Module, directory: str | Path, *, strict: bool = True) -> ResonantModel:
    """Wrap `base_model` with the adapter in `directory`, which `save_pretrained` wrote; the logits are the saved
    model's.

    >>> model = load_resonance(network, "adapter")

    Args:
        base_model: the network that the adapter was trained on. Its weights are compared with the saved fingerprint of
            that network (files of older versions have none). Rounding to half precision does not matter, nor does a
            classifier that the adapter's own head replaces.
        directory: the folder.
        strict: whether other weights are an error, and not only a warning.

    Raises:
        ResonanceError: a missing, damaged or foreign file, or a base model whose layers or weights do not fit it.
    """
    network = plain_network(base_model)
    model = ResonantModel(network, read_adapter(network, directory, strict), base_model)
    if (stated := stated_input(network)) is not None:
        try:
            model.read(stated)  # taps of another width are refused here, not in the first batch
        except ResonanceError:
            model.remove()
            raise
        except Exception:  # the network takes another size than it states
            pass
    return model


def plain_network(base_model: Any) -> nn.Module:
    """The network to couple: `base_model` itself, or the one inside `torch.compile` or `DataParallel`, with a warning.

    >>> plain_network(network) is network
    True

    Raises:
        ResonanceError: no network, one that is resonant already, or a scripted one.
    """
    if not isinstance(base_model, nn.Module):
        raise ResonanceError(f"base_model: {type(base_model).__name__} is no torch.nn.Module; give one")
    network = base_model
    while (inner := _inside(network)) is not None:
        warnings.warn(
            f"base_model: {type(network).__name__} is taken off, since its copies and graphs cannot be coupled; put it "
            "around the resonant model instead",
            ResonanceWarning,
            stacklevel=3,
        )
        network = inner
    if isinstance(network, ResonantModel):
        raise ResonanceError("base_model: it is resonant already; call its remove() first, or wrap its backbone")
    return network


def _inside(network: nn.Module) -> nn.Module | None:
    if isinstance(network, (DataParallel, DistributedDataParallel)):
        return network.module
    if isinstance(network, torch.jit.ScriptModule):
        raise ResonanceError(
            "base_model: a scripted or traced network of torch.jit cannot be coupled; give the Python network that it "
            "was made from"
        )
    return network._modules.get("_orig_mod")  # torch.compile's; its class takes seconds to import


def check_example(network: nn.Module, call: Call, *, stated: bool) -> None:
    """Raise ResonanceError if the network does not take the example at all, whatever is coupled."""
    args, kwargs = call
    try:
        with torch.no_grad():
            network(*args, **kwargs)
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        given = "the input that it states" if stated else "it"
        raise ResonanceError(
            f"example_input: {type(network).__name__} does not take {given}, {described(call)} "
            f"({type(error).__name__}: {line}); give an input as the network takes it"
        ) from None
