"""A network with some of its modules replaced, without hooks and without changing the network itself.

Ancestors of a replaced module are copied shallowly; all other modules, parameters and buffers are shared.
Compilers and exporters, which ignore hooks, see plain modules.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def replace_modules(
    module: nn.Module, replacements: Mapping[str, Callable[[nn.Module], nn.Module]], path: str = ""
) -> nn.Module:
    """`module` with `replacements[p](m)` in the place of each module m at path p.

    >>> twin = replace_modules(network, {"layer4": lambda module: nn.Identity()})
    >>> type(twin.layer4).__name__, type(network.layer4).__name__
    ('Identity', 'Sequential')

    Args:
        module: the network, which is not changed.
        replacements: by module path, a function from the old module to the new module.
        path: path of `module` itself.
    """
    inner = {p for p in replacements if p != path and (not path or p.startswith(f"{path}."))}
    twin = module
    if inner:
        twin = copy.copy(module)
        twin.__dict__["_modules"] = {
            name: child and replace_modules(child, {p: make for p, make in replacements.items() if _within(p, at)}, at)
            for name, child in module._modules.items()
            for at in [f"{path}.{name}" if path else name]
        }
    return replacements[path](twin) if path in replacements else twin


def _within(path: str, at: str) -> bool:
    return path == at or path.startswith(f"{at}.")


class HookFreeBackbone(nn.Module):
    """The backbone with its tap modules replaced, for compilers and exporters, which ignore hooks.

    The network records each tap's activation and replaces the last tap's activation by the coupled result.

    Args:
        backbone: the network.
        taps: module paths, in the order in which a pass reaches them.
        couple: function from all taps' activations to the new activation of the last tap.
        copy: for each tap, whether a later in-place operation changes its activation.
        replacements: new modules by the path of the module that each replaces.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[str],
        couple: Callable[[list[Tensor]], Tensor],
        copy: Sequence[bool],
        replacements: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.captured: list[Tensor] = []
        self.taps, self.couple, self.copy = taps, couple, copy
        recorders = {tap: lambda module, n=n: _Recorder(module, n, self.record) for n, tap in enumerate(taps)}
        others = {path: lambda module, part=part: part for path, part in replacements.items()}
        # in a tuple, so that the backbone's own modules are not registered here
        self.network = (replace_modules(backbone, recorders | others),)

    def record(self, number: int, activation: Tensor) -> Tensor:
        """Record the activation of tap `number` and return it; for the last tap, return the coupled result."""
        self.captured.append(activation.clone() if self.copy[number] else activation)
        return self.couple(self.captured) if number == len(self.taps) - 1 else activation

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.captured = []
        output = self.network[0](*args, **kwargs)
        self.captured = []
        return output


class _Recorder(nn.Module):
    """A tapped layer that passes its activation to the function `record`."""

    def __init__(self, module: nn.Module, number: int, record: Callable[[int, Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.number, self.record = module, number, record

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.record(self.number, self.module(*args, **kwargs))
