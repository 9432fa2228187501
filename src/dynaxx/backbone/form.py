"""The form of a call: which arguments are tensors, and the plain values of the others.

A traced graph holds for calls of one form. Where an argument is missing or another flag is set, the backbone's code
takes other branches.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dynaxx.backbone.example import Call
from dynaxx.errors import ResonanceError

PLAIN = (type(None), bool, int, float, str)
"""Types of the values that a graph can hold fixed."""


@dataclass(frozen=True)
class Form:
    """The form of the calls of one network.

    Attributes:
        names: the parameters of its forward pass, in order.
        defaults: their defaults, where they have one.
        fixed: the values of those that are no tensors.
    """

    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call has this form."""
        if len(args) > len(self.names):
            return False
        given = {**self.defaults, **dict(zip(self.names, args, strict=False)), **kwargs}
        for name, value in given.items():
            if name not in self.names or isinstance(value, Tensor) == (name in self.fixed):
                return False
            if name in self.fixed and (type(value) is not type(self.fixed[name]) or value != self.fixed[name]):
                return False
        return all(name in given for name in self.fixed)


def takes(backbone: nn.Module, name: str) -> bool:
    """Whether the network's forward pass names this parameter."""
    return name in inspect.signature(backbone.forward).parameters


def form_of(backbone: nn.Module, call: Call | None) -> Form:
    """The form of `call`; without it, of a call with tensors for all parameters that have no default.

    >>> form_of(network, ((images,), {})).fits((images + 1,), {})
    True

    Raises:
        ResonanceError: arguments that are neither tensors nor plain values, or more than the forward pass names.
    """
    parameters = inspect.signature(backbone.forward).parameters
    named = {name: p for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    names, defaults = tuple(named), {name: p.default for name, p in named.items() if p.default is not p.empty}
    args, kwargs = ((), {}) if call is None else call
    given = defaults | dict(zip(names, args, strict=False)) | kwargs
    fixed = {name: value for name, value in given.items() if not isinstance(value, Tensor)}
    odd = [name for name, value in given.items() if name not in names or (name in fixed and type(value) not in PLAIN)]
    if odd or len(args) > len(names):
        raise ResonanceError(f"backbone: a graph cannot follow the argument {odd[0] if odd else len(names) + 1!r}")
    return Form(names, defaults, fixed)
