"""One backbone of the matrix: how to make it, what to feed it, and what is expected of wrapping it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map

LAYOUTS = {2: "BC", 3: "BNC", 4: "BCHW", 5: "BCDHW"}
"""Axes of an activation by its number of dimensions, unless the entry names others."""


@dataclass(frozen=True)
class Entry:
    """A backbone by name.

    Attributes:
        name: name of the backbone, unique together with the family.
        family: the library that it comes from.
        make: function that makes the network, with random weights.
        inputs: function from a number of samples to a batch: a tensor, a tuple of arguments or a dict of named ones.
        layers: module paths for the wrap by paths; empty takes the last three recognised stages.
        layout: letters of the axes of the taps' activations, where they are not those of `LAYOUTS`.
        channels: channels of the taps of `layers="auto"`, where they are known from the network's documentation.
        axis: the axis of inputs and outputs that counts samples.
        options: options of the wrap by paths, for what cannot be found out from an example.
        refused: by check, a pattern of the refusal that is expected of it.
        fast: whether `make test` runs it, too.
    """

    name: str
    family: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int], Any]
    layers: tuple[str, ...] = ()
    layout: str = ""
    channels: tuple[int, ...] = ()
    axis: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    fast: bool = False

    def network(self) -> nn.Module:
        """The network in eval mode, the same at every call, with weights as lively as trained ones."""
        torch.manual_seed(0)
        network = self.make()
        _enliven(network)
        _settle(network, self.batch(4))
        return network.eval()

    def batch(self, samples: int) -> Any:
        """A batch of different samples, the same at every call."""
        torch.manual_seed(samples)
        return self.inputs(samples)

    def sample(self, batch: Any, number: int) -> Any:
        """A batch of the one sample `number` of `batch`."""
        return tree_map(lambda x: x.narrow(self.axis, number, 1) if isinstance(x, Tensor) else x, batch)


def images(side: int, channels: int = 3) -> Callable[[int], Tensor]:
    """The function that makes batches of square images."""
    return lambda samples: torch.randn(samples, channels, side, side)


def called(function: Callable[..., Any], batch: Any) -> Any:
    """The result of `function` for a batch, whose form says how it is passed.

    >>> called(network, {"pixel_values": images})  # network(pixel_values=images)
    """
    if isinstance(batch, dict):
        return function(**batch)
    return function(*batch) if isinstance(batch, tuple) else function(batch)


def leaves(output: Any) -> list[Tensor]:
    """The floating-point tensors in an output of any type."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


@torch.no_grad()
def _enliven(network: nn.Module) -> None:
    """Fresh networks hold scales and heads at (nearly) zero, behind which nothing can be measured."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias") or not parameter.numel() or not parameter.is_floating_point():
            continue
        if parameter.abs().max() < 0.01 and bool((parameter == parameter.flatten()[0]).all()):
            nn.init.uniform_(parameter, 0.1, 0.5)


@torch.no_grad()
def _settle(network: nn.Module, batch: Any) -> None:
    """Statistics of batch normalisations as of a trained network; with fresh ones activations vanish with depth."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    called(network.train(), batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
