"""A network with some of its modules replaced, without touching the network itself and without hooks.

Modules on the way to a replaced one are copied shallowly; everything else, parameters and buffers included, is shared.
Compilers and exporters see plain modules where an eager pass would listen through hooks.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def grafted(module: nn.Module, replaced: Mapping[str, Callable[[nn.Module], nn.Module]], path: str = "") -> nn.Module:
    """`module` with `replaced[p](m)` in the place of each module m at path p.

    Args:
        path: where `module` stands itself.
    """
    inner = {p for p in replaced if p != path and (not path or p.startswith(f"{path}."))}
    twin = module
    if inner:
        twin = copy.copy(module)
        twin.__dict__["_modules"] = {
            name: child and grafted(child, {p: make for p, make in replaced.items() if _within(p, at)}, at)
            for name, child in module._modules.items()
            for at in [f"{path}.{name}" if path else name]
        }
    return replaced[path](twin) if path in replaced else twin


def _within(path: str, at: str) -> bool:
    return path == at or path.startswith(f"{at}.")


class Meeting(nn.Module):
    """A network that stops at its last tap to let the taps agree, on what a plain pass told it of the others.

    Args:
        backbone: the network.
        taps: module paths, in the order in which a pass reaches them.
        meet: from all taps' activations to what goes on in the place of the last.
        copy: taps whose activation an in-place operation changes later.
        instead: modules by the path of those in whose place they stand.
    """

    def __init__(
        self,
        backbone: nn.Module,
        taps: Sequence[str],
        meet: Callable[[list[Tensor]], Tensor],
        copy: Sequence[bool],
        instead: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.heard: list[Tensor] = []
        self.taps, self.meet, self.copy = taps, meet, copy
        listeners = {tap: lambda module, n=n: _Listener(module, n, self.hear) for n, tap in enumerate(taps)}
        others = {path: lambda module, part=part: part for path, part in instead.items()}
        self.network = (grafted(backbone, listeners | others),)  # in a tuple: its modules are the backbone's own

    def hear(self, number: int, activation: Tensor) -> Tensor:
        """Note what a tap says; the last one is answered what all agreed on."""
        self.heard.append(activation.clone() if self.copy[number] else activation)
        return self.meet(self.heard) if number == len(self.taps) - 1 else activation

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.heard = []
        output = self.network[0](*args, **kwargs)
        self.heard = []
        return output


class _Listener(nn.Module):
    """A tap that tells what it gives."""

    def __init__(self, module: nn.Module, number: int, hear: Callable[[int, Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.number, self.hear = module, number, hear

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.hear(self.number, self.module(*args, **kwargs))
