"""Freezing a backbone for as long as a resonant model wraps it, and giving it back as it was.

Several models may wrap one backbone, or parts of it. What a parameter's `requires_grad` and a module's `training` were
before the first wrapper is kept here, not by the wrappers, so the order in which they are removed does not matter.

A wrapper that was garbage collected counts as removed, but nothing is put back at that moment: code may still run the
backbone, and a batch norm must not begin to train under it. The next `remove()` puts back the flags from before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakSet

from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

Thing = nn.Parameter | nn.Module


@dataclass
class _Kept:
    """The flag of a parameter or module before it was wrapped, and the models that now hold it frozen."""

    flag: bool
    holders: "WeakSet[nn.Module]" = field(default_factory=WeakSet)


_KEPT = WeakTensorKeyDictionary()  # by identity; it takes modules as well as tensors


def freeze(backbone: nn.Module, holder: nn.Module) -> list[Thing]:
    """Freeze the parameters of `backbone` and set its modules to eval mode, for `holder`; returns what is held.

    >>> held = freeze(network, model)
    >>> network.training, any(parameter.requires_grad for parameter in network.parameters())
    (False, False)
    >>> release(held, model)
    """
    things: list[Thing] = [*backbone.parameters(), *backbone.modules()]
    hold([(thing, _flag(thing)) for thing in things], holder)
    for thing in things:
        _set(thing, False)
    return things


def hold(flags: Iterable[tuple[Thing, bool]], holder: nn.Module) -> None:
    """Note that `holder` holds these things, whose flags before were these, unless other holders know better."""
    for thing, flag in flags:
        kept = _KEPT.get(thing)
        # a flag that is set though nobody holds the thing was set by its owner, after a holder was collected
        if kept is None or (flag and not kept.holders):
            kept = _KEPT[thing] = _Kept(flag)
        kept.holders.add(holder)


def release(things: Iterable[Thing], holder: nn.Module) -> None:
    """Put back the flags of the things that no other model holds."""
    for thing in things:
        kept = _KEPT.get(thing)
        if kept is None:
            continue
        kept.holders.discard(holder)
        if not kept.holders:
            _set(thing, kept.flag)
            del _KEPT[thing]


def flags_before(things: Iterable[Thing]) -> list[tuple[Thing, bool]]:
    """The held things with the flags that they had before they were wrapped."""
    return [(thing, _KEPT[thing].flag if thing in _KEPT else _flag(thing)) for thing in things]


def _flag(thing: Thing) -> bool:
    return thing.training if isinstance(thing, nn.Module) else thing.requires_grad


def _set(thing: Thing, flag: bool) -> None:
    if isinstance(thing, nn.Module):
        thing.training = flag
    else:
        thing.requires_grad_(flag)
