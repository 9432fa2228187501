"""The choice of how a backbone pass runs: with hooks, with replaced modules, or as a split graph.

Hooks suffice if no layer after the last tap (tapped layer) reads an earlier tap and no segment runs again. Otherwise
the graph is split. Compilers and exporters ignore hooks, so they always run a network of plain modules.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.graph import Split
from dynaxx.backbone.replace import HookFreeBackbone
from dynaxx.backbone.taps import capture, hooked
from dynaxx.errors import ResonanceError, ResonanceWarning
from dynaxx.resonance import Tap

Couple = Callable[[list[Tensor], Sequence[Any]], list[Tensor]]
"""Function from the activations of all taps, and other activations, to the new activations of the output taps."""


@dataclass(frozen=True)
class Execution:
    """The ways in which one backbone can run for the taps of one adapter.

    Attributes:
        network: plain modules that take the backbone's arguments and couple the taps.
        hooks: whether an eager pass can use hooks on the backbone itself.
        segments: the backbone's parts between the taps, for the reentrant dynamics; otherwise empty.
    """

    network: nn.Module
    hooks: bool
    segments: Sequence[fx.GraphModule | None] = ()


class _Couple(nn.Module):
    def __init__(self, couple: Couple) -> None:
        super().__init__()
        self.couple = couple

    def forward(self, activations: list[Tensor], outside: Sequence[Any]) -> list[Tensor]:
        return self.couple(activations, outside)


def plan_execution(
    backbone: nn.Module,
    taps: Sequence[str],
    outputs: Sequence[int],
    couple: Couple,
    *,
    again: bool,
    overwritten: Sequence[bool],
    replacements: dict[str, nn.Module],
) -> Execution:
    """The `Execution` that runs `backbone` with its tapped layers `taps` coupled.

    >>> taps, unchanged = ["layer2", "layer3"], lambda activations, outside: activations[-1:]
    >>> options = {"again": False, "overwritten": [False, False], "replacements": {}}
    >>> plan_execution(network, taps, [1], unchanged, **options).hooks
    True

    Args:
        backbone: the network.
        taps: module paths in depth order.
        outputs: indices of the taps that the rest of the network reads.
        couple: function from the taps' activations to the new activations of the output taps.
        again: whether the segments between the taps are run again.
        overwritten: for each tap, whether a later in-place operation changes its activation.
        replacements: new modules by the path of the module that each replaces.
    """
    if not again and list(outputs) == [len(taps) - 1]:
        network = HookFreeBackbone(backbone, taps, lambda x: couple(x, ())[0], overwritten, replacements)
        return Execution(network, hooks=True)
    split = Split(backbone, taps, overwritten)
    segments = split.segments() if again else ()
    return Execution(split.whole(_Couple(couple), replacements), hooks=False, segments=segments)


def output_taps(
    backbone: nn.Module, taps: Sequence[str], overwritten: Sequence[bool], call: Call, again: bool
) -> list[int]:
    """Indices of the taps that the network after the last tap reads.

    >>> output_taps(network, ["layer2", "layer3"], [False, False], ((images,), {}), again=False)
    [1]

    If torch.fx cannot trace the backbone, only the last tap is returned. A warning names other taps that the network
    reads.

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
    outputs = split.outputs()
    if (again or outputs != [last]) and not reproduces(split, backbone, call):
        raise ResonanceError("backbone: the graph that torch.fx traced of it does not give its output")
    return outputs


@torch.no_grad()
def tail_of(backbone: nn.Module, taps: Sequence[str], overwritten: Sequence[bool], example: Any) -> nn.Module:
    """The part of the network after the taps: a module from the output taps' activations to the backbone's output.

    >>> tail = tail_of(network, ["layer2", "layer3"], [False, False], images)
    >>> tail([torch.zeros(2, 256, 4, 4)]).shape
    torch.Size([2, 1000])

    Raises:
        ResonanceError: the backbone cannot be traced, its part after the taps reads other activations, too, or the
            module's output on `example` differs from the backbone's.
    """
    split = Split(backbone, taps, overwritten)
    tail = split.tail()
    with capture(backbone, taps, copy=[True] * len(taps)) as captured:
        expected = backbone(example)
    if not _same(tail([captured[taps[number]] for number in split.outputs()]), expected):
        raise ResonanceError(f"layers: the traced tail behind {taps[-1]!r} does not give the backbone's output")
    return tail


@torch.no_grad()
def reproduces(split: Split, backbone: nn.Module, call: Call) -> bool:
    """Whether the traced graph gives the backbone's output when the taps' activations stay unchanged."""
    outputs = split.outputs()
    whole = split.whole(_Couple(lambda activations, outside: [activations[number] for number in outputs]), {})
    args, kwargs = call
    return _same(whole(*args, **kwargs), backbone(*args, **kwargs))


@torch.no_grad()
def _read_past(backbone: nn.Module, tap: str, last: str, call: Call) -> bool:
    """Whether the output depends on `tap` while the activation of the last tap is held constant."""
    args, kwargs = call
    with capture(backbone, [last], copy=[True]) as captured:
        plain = backbone(*args, **kwargs)
    shifted = {tap: lambda module, args, output: output + 1.0, last: lambda *_: captured[last].clone()}
    with hooked(backbone, shifted):
        return not _same(backbone(*args, **kwargs), plain)


@torch.no_grad()
def warn_of_unread_tokens(backbone: nn.Module, last: Tap, call: Call) -> None:
    """Warn if the network after the last tap reads only leading tokens, such as a class token.

    >>> last = Tap("blocks.11", 192, tokens=True, overwritten=False, prefix=1)
    >>> warn_of_unread_tokens(timm.create_model("vit_tiny_patch16_224"), last, ((images,), {}))  # doctest: +SKIP

    Position-wise messages to the remaining tokens would not affect the output.
    """
    args, kwargs = call
    front = max(last.prefix, 1)

    def output_with(changed: slice) -> Any:
        def change(activations: list[Tensor]) -> Tensor:
            (x_BNC,) = activations
            x_BNC[:, changed] = x_BNC[:, changed].flip(-1)  # a layer norm would remove a shift
            return x_BNC

        with capture(backbone, [last.path], change, [True]):
            return backbone(*args, **kwargs)

    with capture(backbone, [last.path]) as captured:
        plain = backbone(*args, **kwargs)
    if captured[last.path].shape[1] <= front:
        return
    if _same(output_with(slice(front, None)), plain) and not _same(output_with(slice(0, front)), plain):
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
    """The floating-point tensors in a model output of any type."""
    leaves = torch.utils._pytree.tree_leaves(output)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
