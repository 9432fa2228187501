"""What a model is called with: an example input, the user's own or the one that the model states, and batches."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dynaxx.errors import ResonanceError

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and named arguments of one forward pass."""

LABELS = ("labels", "label", "label_ids")
"""Names of the labels in a batch of named values, as Hugging Face's data sets and models call them."""


def as_call(example: Any, name: str = "example_input") -> Call:
    """The arguments that `example` means: a tensor, a tuple of positional or a dict of named arguments.

    >>> args, kwargs = as_call({"pixel_values": images})
    >>> sorted(kwargs)
    ['pixel_values']

    Raises:
        ResonanceError: an example without any tensor; the message begins with `name`.
    """
    call: Call
    if isinstance(example, Mapping):  # a BatchEncoding is no dict
        call = (), dict(example)
    else:
        call = (tuple(example) if isinstance(example, (tuple, list)) else (example,)), {}
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(call)):
        raise ResonanceError(
            f"{name}: {type(example).__name__} holds no tensor; give a tensor, a tuple of positional arguments or a "
            "dict of named ones"
        )
    return call


def described(call: Call) -> str:
    """The shapes and types of the tensors of a call, for a message.

    >>> described(((images,), {}))
    '(2, 3, 64, 64) float32'
    """
    args, kwargs = call
    named = [("", value) for value in args] + [(f"{name} ", value) for name, value in kwargs.items()]
    return ", ".join(
        f"{name}{tuple(leaf.shape)} {str(leaf.dtype).removeprefix('torch.')}"
        for name, value in named
        for leaf in tree_leaves(value)
        if isinstance(leaf, Tensor)
    )


def split_batch(batch: Any, name: str, *, keep_labels: bool = False, sources: Collection[str] = ()) -> tuple[Call, Any]:
    """The arguments of a forward pass, and the labels or None, from one batch of a loader.

    >>> (args, kwargs), labels = split_batch((images, torch.tensor([1, 2])), "batches")
    >>> labels
    tensor([1, 2])

    Args:
        batch: inputs, (inputs, labels, …), or a dict of named arguments that may hold the labels. Inputs are a tensor,
            a dict of named arguments, or a tuple of positional ones. Sources stand under `sources` in a dict, or in a
            dict of their names behind the inputs: (inputs, labels, {name: tensor}) or (inputs, {name: tensor}, labels).
        name: name of the loader, with which messages begin.
        keep_labels: whether labels among named arguments stay there, for models that read them.
        sources: names of the model's sources; they become the named argument `sources`.

    Raises:
        ResonanceError: a batch without any tensor.
    """
    given: Any = None
    for place in range(1, len(batch)) if isinstance(batch, (tuple, list)) else ():
        if isinstance(batch[place], Mapping) and batch[place] and set(batch[place]) <= set(sources):
            given, batch = batch[place], (*batch[:place], *batch[place + 1 :])
            break
    labels = batch[1] if isinstance(batch, (tuple, list)) and len(batch) > 1 else None
    inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    args, kwargs = as_call([inputs] if isinstance(inputs, list) else inputs, name)
    named = [key for key in LABELS if key in kwargs]
    if labels is None and named:
        labels = kwargs[named[0]]
    kwargs = {key: value for key, value in kwargs.items() if keep_labels or key not in named}
    return (args, kwargs if given is None else kwargs | {"sources": given}), labels


def device_of(model: nn.Module) -> torch.device | None:
    """The device of all parameters of `model`; None if they lie on several devices, or if there are none."""
    devices = {parameter.device for parameter in model.parameters()}
    return devices.pop() if len(devices) == 1 else None


def on_device(call: Any, device: torch.device | None, name: str) -> Any:
    """The same values with all tensors on `device`; unchanged if it is None.

    >>> (moved,) = on_device((images,), torch.device("cpu"), "batches")

    Raises:
        ResonanceError: a tensor that cannot be copied there, such as one without values on torch's meta device.
    """

    def move(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) and value.device != device else value

    try:
        return call if device is None else tree_map(move, call)
    except (NotImplementedError, RuntimeError) as error:
        raise ResonanceError(f"{name}: a tensor cannot be copied to {device}, where the model is ({error})") from None


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
