"""Token sequences: leading tokens without a position, whether a model is causal, and where tokens lie beside maps."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from dynaxx.backbone.example import Call
from dynaxx.backbone.grid import rows_of
from dynaxx.backbone.layout import canonical, different
from dynaxx.backbone.taps import capture
from dynaxx.errors import ResonanceError
from dynaxx.grid import Tap

PREFIX = ("cls_token", "class_token", "dist_token", "distillation_token", "reg_token", "register_tokens")
"""Attribute names of the embeddings that vision transformers put in front of the patch tokens."""


def prefix_tokens(model: nn.Module) -> int:
    """Number of leading tokens without an image position: class, distillation and register tokens."""
    return sum(p.shape[1] for name, p in model.named_parameters() if name.split(".")[-1] in PREFIX and p.ndim == 3)


def with_token_facts(
    taps: Sequence[Tap], backbone: nn.Module, call: Call, causal: bool | None, prefix: int | None
) -> list[Tap]:
    """Copies of `taps` with the fields `causal` and `prefix` filled in.

    >>> taps = [Tap("layer2", 128, "BNC", overwritten=False)]
    >>> with_token_facts(taps, network, ((images,), {}), causal=None, prefix=1)[0].prefix
    1

    Args:
        taps: token taps.
        backbone: the network.
        call: arguments of one forward pass.
        causal: the user's choice; None tests on `call` whether the model is causal.
        prefix: number of leading tokens, chosen by the user; None counts the backbone's leading tokens.
    """
    if causal is None:
        causal = is_causal(backbone, taps, *call)
    if prefix is None:
        prefix = prefix_tokens(backbone)
    return [dataclasses.replace(tap, causal=causal, prefix=prefix) for tap in taps]


@torch.no_grad()
def with_places(
    taps: Sequence[Tap], backbone: nn.Module, call: Call, grid: tuple[int, int] | None, prefix: int | None
) -> list[Tap]:
    """Copies of `taps`, maps among them, in which tokens have their prefix, and are marked if they miss the grid.

    >>> taps = [Tap("stem", 8, "BCHW"), Tap("blocks.1", 16, "BNC")]
    >>> [tap.pooled for tap in with_places(taps, network, ((images,), {}), grid=(7, 7), prefix=None)]  # doctest: +SKIP
    [False, True]

    The grid is that of the last tap that has positions: a map, or tokens in the proportions of the last map.

    Args:
        taps: the taps in depth order.
        backbone: the network.
        call: arguments of one forward pass.
        grid: the user's choice, or None.
        prefix: number of leading tokens, chosen by the user; None counts the backbone's leading tokens.
    """
    prefix = prefix_tokens(backbone) if prefix is None else prefix
    taps = [tap if tap.dims or tap.point else dataclasses.replace(tap, prefix=prefix) for tap in taps]
    shapes = [tuple(x.shape) for x in _tokens(backbone, taps, call)]
    last_map = [shape[2:] for tap, shape in zip(taps, shapes, strict=True) if tap.dims][-1]
    found: tuple[int, ...] | None = grid
    for number in reversed(range(len(taps))):
        tap, shape = taps[number], shapes[number]
        if tap.dims or tap.point:
            found = found or (shape[2:] if tap.dims else None)
            continue
        found = found or rows_of(shape[1] - prefix, last_map)
        lies = found is not None and math.prod(found) == shape[1] - prefix
        taps[number] = dataclasses.replace(tap, pooled=not lies, prefix=prefix if lies else 0)
    return taps


@torch.no_grad()
def is_causal(backbone: nn.Module, taps: Sequence[Tap], args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether replacing the last input position changes only the last token of each tap's activation.

    >>> is_causal(network, [Tap("layer2", 128, "BNC", overwritten=False)], (images,), {})
    False

    A model of images (B, C, H, W) or of plain features (B, F) is not causal.

    Raises:
        ResonanceError: the arguments hold neither images nor sequences of two positions to try it out on.
    """
    inputs = [leaf for leaf in tree_leaves((kwargs.get("input_ids"), args, kwargs)) if isinstance(leaf, Tensor)]
    inputs = [leaf for leaf in inputs if leaf.dtype != torch.bool]
    if any(tap.layout == "BC" for tap in taps) or any(leaf.ndim > 3 for leaf in inputs):
        return False
    # token numbers or signals (B, N), sequences (B, N, F) or (B, F, N)
    sequences = [leaf for leaf in inputs if leaf.ndim in (2, 3)]
    axes = [axis for axis in range(1, sequences[0].ndim) if sequences[0].shape[axis] > 1] if sequences else []
    if taps[0].layout == "NBC" and sequences and sequences[0].ndim == 3:
        axes = [0, *axes] if sequences[0].shape[0] > 1 else axes
    if not axes:
        raise ResonanceError(
            "causal=None: the example input holds neither images nor two positions of a sequence to try it out on; "
            "give causal=True or causal=False"
        )
    plain = _tokens(backbone, taps, (tuple(args), dict(kwargs)))

    def only_the_last_changes(axis: int) -> bool:
        rest, last = sequences[0].tensor_split([sequences[0].shape[axis] - 1], dim=axis)
        changed = torch.cat([rest, different(last)], dim=axis)
        other = tree_map(lambda x: changed if x is sequences[0] else x, (tuple(args), dict(kwargs)))
        return all(
            torch.allclose(a[:, :-1], b[:, :-1], rtol=1e-4, atol=1e-5 * float(a.abs().max()))
            for a, b in zip(plain, _tokens(backbone, taps, other), strict=True)
        )

    return any(only_the_last_changes(axis) for axis in axes)


def _tokens(backbone: nn.Module, taps: Sequence[Tap], call: Call) -> list[Tensor]:
    """Each tap's activation (B, N, C), or (B, C, H, W) of a map."""
    with capture(backbone, [tap.path for tap in taps], copy=[True] * len(taps)) as captured:
        backbone(*call[0], **call[1])
    return [canonical(captured[tap.path], tap.layout) for tap in taps]
