"""An example input for a model: the user's own, or zeros in the shape that the model states."""

from typing import Any

import torch
from torch import Tensor, nn

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments of one forward pass."""


def as_call(example: Any) -> Call:
    """Convert `example_input` (a tensor, a tuple of positional or a dict of named arguments) to call arguments."""
    if isinstance(example, dict):
        return (), example
    return (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}


def stated_input(model: nn.Module) -> Tensor | None:
    """Zeros (1, C, H, W) in the input shape that a timm or torchvision model states, else None.

    >>> stated_input(timm.create_model("resnet18")).shape
    torch.Size([1, 3, 224, 224])

    timm models carry `pretrained_cfg["input_size"]`. torchvision's vision transformers carry `image_size`.
    torchvision's convolutional classifiers state no size and take any from about 32 up; their number of channels is
    read from the first weight.
    """
    parameter = next(model.parameters(), None)
    if parameter is None:
        return None
    size: tuple[int, ...] | None = None
    stated = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    if isinstance(stated, dict) and stated.get("input_size"):
        size = tuple(stated["input_size"])
        # what the model was made with wins over the configuration it was published with
        convolution = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        sides = getattr(getattr(model, "patch_embed", None), "img_size", None) or size[1:]
        size = (convolution.in_channels if convolution is not None else size[0], *sides)
    elif type(model).__module__.startswith("torchvision.models."):
        convolution = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        fixed = 224 if type(model).__module__.endswith(".maxvit") else 128  # whose windows divide no other size
        side = getattr(model, "image_size", fixed)
        size = (convolution.in_channels, side, side) if convolution is not None else None
    if size is None:
        return None
    return torch.zeros(1, *size, device=parameter.device, dtype=parameter.dtype)


def inputs_of(batch: Any) -> Any:
    """The inputs of a batch, where a batch is either the inputs alone or a tuple (inputs, labels, …)."""
    return batch[0] if isinstance(batch, (tuple, list)) else batch
