"""A network with some of its modules replaced, without hooks and without changing the network itself.

Ancestors of a replaced module are copied shallowly; all other modules, parameters and buffers are shared.
Compilers and exporters, which ignore hooks, see plain modules.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone.taps import Ended, activation_of, with_activation
from dynaxx.grid import Tap


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


def constants(modules: Mapping[str, nn.Module]) -> dict[str, Callable[[nn.Module], nn.Module]]:
    """New modules by path, as `replace_modules` takes them."""
    return {path: partial(_constant, module) for path, module in modules.items()}


def _constant(new: nn.Module, old: nn.Module) -> nn.Module:
    del old
    return new


def _within(path: str, at: str) -> bool:
    return path == at or path.startswith(f"{at}.")


class HookFreeBackbone(nn.Module):
    """The backbone with its tap modules replaced, for compilers and exporters, which ignore hooks.

    The network records each tap's activation and replaces the last tap's activation by the coupled result.

    Args:
        backbone: the network.
        taps: the taps, in the order in which a pass reaches them.
        couple: function from all taps' activations to the new activation of the last tap.
        replacements: new modules by the path of the module that each replaces.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[Tap],
        couple: Callable[[list[Tensor]], Tensor],
        replacements: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.captured: list[Tensor] = []
        self.taps, self.couple = taps, couple
        recorders = {tap.path: lambda module, n=n: _Recorder(module, n, self.record) for n, tap in enumerate(taps)}
        # in a tuple, so that the backbone's own modules are not registered here
        self.network = (replace_modules(backbone, recorders | constants(replacements)),)

    def record(self, number: int, output: Any) -> Any:
        """Record the activation of tap `number` and return its output; for the last tap, with the coupled result."""
        activation = activation_of(self.taps[number].path, output)
        self.captured.append(activation.clone() if self.taps[number].overwritten else activation)
        last = number == len(self.taps) - 1
        return with_activation(output, self.couple(self.captured)) if last else output

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.captured = []
        output = self.network[0](*args, **kwargs)
        self.captured = []
        return output


class ReadingBackbone(nn.Module):
    """The backbone up to its last tap, and what `read` makes of the taps' activations, for compilers and exporters.

    A compiler leaves out what lies behind the last tap, since nothing uses it. An exporter would keep it, so there the
    pass ends at the tap.

    Args:
        backbone: the network.
        taps: the taps, in the order in which a pass reaches them.
        read: function from all taps' activations, and the arguments of the pass, to the output.
    """

    def __init__(self, backbone: nn.Module, taps: Sequence[Tap], read: Callable[[list[Tensor], Any], Tensor]) -> None:
        super().__init__()
        self.read, self.found = read, list[Tensor]()
        self.arguments: Any = None
        self.network = HookFreeBackbone(backbone, taps, self._keep, {})

    def _keep(self, activations: list[Tensor]) -> Tensor:
        self.found = [self.read(activations, self.arguments)]
        if torch.compiler.is_exporting():
            raise Ended()
        return activations[-1]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        self.arguments = (args, kwargs)
        try:  # noqa: SIM105  (compilers do not trace contextlib.suppress)
            self.network(*args, **kwargs)
        except Ended:
            pass
        (output,) = self.found
        self.found, self.arguments = [], None
        return output


class _Recorder(nn.Module):
    """A tapped layer that passes its activation to the function `record`."""

    def __init__(self, module: nn.Module, number: int, record: Callable[[int, Any], Any]) -> None:
        super().__init__()
        self.module, self.number, self.record = module, number, record

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.record(self.number, self.module(*args, **kwargs))
