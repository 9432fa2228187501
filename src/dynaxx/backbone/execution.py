"""How a pass of the backbone gets its taps to meet: by hooks where they suffice, by the split graph where not.

Hooks suffice when nothing behind the last tap reads an earlier one, and nothing is to be run again. Compilers and
exporters, which see no hooks, are given a network of plain modules either way.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.graph import Split
from dynaxx.backbone.replace import Meeting
from dynaxx.backbone.taps import TapInfo, tapped
from dynaxx.errors import ResonanceError, ResonanceWarning

Meet = Callable[[list[Tensor], Sequence[Any]], list[Tensor]]
"""From the activations of all taps, and what lies outside them, to those that go on in the places of the seen ones."""


@dataclass(frozen=True)
class Wiring:
    """The ways through one backbone for the taps of one adapter.

    Attributes:
        network: of plain modules, takes what the backbone takes and lets the taps meet.
        hooks: whether an eager pass can do with hooks on the backbone itself.
        segments: what lies between the taps, where it is run again; empty otherwise.
    """

    network: nn.Module
    hooks: bool
    segments: Sequence[fx.GraphModule | None] = ()


class _Meet(nn.Module):
    def __init__(self, meet: Meet) -> None:
        super().__init__()
        self.meet = meet

    def forward(self, activations: list[Tensor], outside: Sequence[Any]) -> list[Tensor]:
        return self.meet(activations, outside)


def wire(
    backbone: nn.Module,
    taps: Sequence[str],
    seen: Sequence[int],
    meet: Meet,
    *,
    again: bool,
    overwritten: Sequence[bool],
    instead: dict[str, nn.Module],
) -> Wiring:
    """Make the wiring.

    Args:
        seen: numbers of the taps that something behind the last one reads.
        again: whether the segments between the taps are run again.
        instead: modules by the path of those in whose place they stand.
    """
    if not again and list(seen) == [len(taps) - 1]:
        return Wiring(Meeting(backbone, taps, lambda heard: meet(heard, ())[0], overwritten, instead), hooks=True)
    split = Split(backbone, taps, overwritten)
    return Wiring(split.whole(_Meet(meet), instead), hooks=False, segments=split.segments() if again else ())


def seen_behind(
    backbone: nn.Module, taps: Sequence[str], overwritten: Sequence[bool], call: Call, again: bool
) -> list[int]:
    """Numbers of the taps that something behind the last one reads, as far as torch.fx can tell.

    Where it cannot trace the backbone only the last tap's chain can be served; a warning says so if another is read.

    Raises:
        ResonanceError: a backbone that has to be split (for the segments to run again, or for several readers), and
            cannot be.
    """
    last = len(taps) - 1
    try:
        split = Split(backbone, taps, overwritten)
    except ResonanceError as error:
        if again:
            raise ResonanceError(f"{error}; give dynamics='anchored', which runs nothing again") from None
        missed = [tap for tap in taps[:-1] if _read_past(backbone, tap, taps[-1], call)]
        if missed:
            warnings.warn(
                f"what lies behind {taps[-1]!r} also reads {', '.join(missed)}, and goes on reading what the backbone "
                f"gives there: {error}",
                ResonanceWarning,
                stacklevel=2,
            )
        return [last]
    seen = split.seen()
    if (again or seen != [last]) and not passes_on(split, backbone, call):
        raise ResonanceError("backbone: the graph that torch.fx traced of it does not give its output")
    return seen


@torch.no_grad()
def tail_of(backbone: nn.Module, taps: Sequence[str], overwritten: Sequence[bool], example: Any) -> nn.Module:
    """What lies behind the taps, from the list of the activations of the seen ones to the backbone's output.

    Raises:
        ResonanceError: the backbone cannot be traced, what lies behind reads more than the taps, or it does not give
            the backbone's output on `example`.
    """
    split = Split(backbone, taps, overwritten)
    tail = split.tail()
    with tapped(backbone, taps, None, [True] * len(taps)) as heard:
        expected = backbone(example)
    if not _same(tail([heard[taps[number]] for number in split.seen()]), expected):
        raise ResonanceError(f"layers: the traced tail behind {taps[-1]!r} does not give the backbone's output")
    return tail


@torch.no_grad()
def passes_on(split: Split, backbone: nn.Module, call: Call) -> bool:
    """Whether the traced graph gives the backbone's output where every tap goes on as it is."""
    seen = split.seen()
    whole = split.whole(_Meet(lambda activations, outside: [activations[number] for number in seen]), {})
    args, kwargs = call
    return _same(whole(*args, **kwargs), backbone(*args, **kwargs))


@torch.no_grad()
def _read_past(backbone: nn.Module, tap: str, last: str, call: Call) -> bool:
    """Whether the output moves with `tap` while what the last tap gives is held."""
    args, kwargs = call
    with tapped(backbone, [last], None, [True]) as seen:
        plain = backbone(*args, **kwargs)

    handles = [
        backbone.get_submodule(tap).register_forward_hook(lambda module, args, output: output + 1.0),
        backbone.get_submodule(last).register_forward_hook(lambda module, args, output: seen[last].clone()),
    ]
    try:
        return not _same(backbone(*args, **kwargs), plain)
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def warn_of_unread_tokens(backbone: nn.Module, last: TapInfo, call: Call) -> None:
    """Warn if what lies behind the last tap reads tokens in front, as a class token, and no other.

    A message by place reaches the token that it stands for, so most would be lost there.
    """
    args, kwargs = call
    front = max(last.prefix, 1)

    def answer(changed: slice) -> Any:
        def go_on(activations: list[Tensor]) -> Tensor:
            (x_BNC,) = activations
            x_BNC[:, changed] = x_BNC[:, changed].flip(-1)  # a shift would be lost in a layer norm
            return x_BNC

        with tapped(backbone, [last.path], go_on, [True]):
            return backbone(*args, **kwargs)

    with tapped(backbone, [last.path], None) as seen:
        plain = backbone(*args, **kwargs)
    if seen[last.path].shape[1] <= front:
        return
    if _same(answer(slice(front, None)), plain) and not _same(answer(slice(0, front)), plain):
        tokens = "first token" if front == 1 else f"first {front} tokens"
        warnings.warn(
            f"what lies behind {last.path!r} reads the {tokens} and no other, so messages to the others are lost: give "
            "token_pool=True, or tap an earlier layer last",
            ResonanceWarning,
            stacklevel=2,
        )


def _same(one: Any, other: Any) -> bool:
    pairs = zip(_tensors(one), _tensors(other), strict=True)
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) for a, b in pairs)


def _tensors(output: Any) -> list[Tensor]:
    """The floating-point tensors of whatever a model returns."""
    leaves = torch.utils._pytree.tree_leaves(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
