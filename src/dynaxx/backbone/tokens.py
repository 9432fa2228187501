"""Token sequences: leading tokens without a position, and whether a model is causal."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.taps import capture
from dynaxx.errors import ResonanceError
from dynaxx.resonance import Tap

PREFIX = ("cls_token", "class_token", "dist_token", "distillation_token", "reg_token", "register_tokens")
"""Attribute names of the embeddings that vision transformers put in front of the patch tokens."""


def prefix_tokens(model: nn.Module) -> int:
    """Number of leading tokens without an image position: class, distillation and register tokens."""
    return sum(p.shape[1] for name, p in model.named_parameters() if name.split(".")[-1] in PREFIX and p.ndim == 3)


def with_token_facts(
    taps: Sequence[Tap], backbone: nn.Module, call: Call, causal: bool | None, prefix: int | None
) -> list[Tap]:
    """Copies of `taps` with the fields `causal` and `prefix` filled in.

    >>> taps = [Tap("layer2", 128, tokens=True, overwritten=False)]
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
        causal = is_causal(backbone, [tap.path for tap in taps], *call)
    if prefix is None:
        prefix = prefix_tokens(backbone)
    return [dataclasses.replace(tap, causal=causal, prefix=prefix) for tap in taps]


@torch.no_grad()
def is_causal(backbone: nn.Module, paths: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether replacing the last input token changes only the last token of each tapped layer's activation.

    >>> is_causal(network, ["layer2"], (images,), {})
    False

    A model of images (B, C, H, W) is not causal.

    Raises:
        ResonanceError: the arguments hold neither images nor token numbers (B, N) with N > 1.
    """
    named = [("", n, value) for n, value in enumerate(args)] + [(name, -1, value) for name, value in kwargs.items()]
    ids = next((entry for entry in named if _is_ids(entry[2]) and entry[0] in ("", "input_ids")), None)
    if ids is None:
        if any(isinstance(value, Tensor) and value.ndim == 4 for _, _, value in named):
            return False
        raise ResonanceError(
            "causal=None: the example input holds neither images nor two token numbers to try it out on; "
            "give causal=True or causal=False"
        )
    name, number, value = ids
    other = value.clone()
    other[:, -1] = torch.where(value[:, -1] == 0, 1, 0)
    changed_args = [other if not name and n == number else given for n, given in enumerate(args)]
    changed_kwargs = kwargs | ({name: other} if name else {})
    activations = []
    for call in ((args, kwargs), (changed_args, changed_kwargs)):
        with capture(backbone, paths, copy=[True] * len(paths)) as captured:
            backbone(*call[0], **call[1])
        activations.append([captured[path] for path in paths])
    return all(
        torch.allclose(a[:, :-1], b[:, :-1], rtol=1e-4, atol=1e-5 * float(a.abs().max()))
        for a, b in zip(*activations, strict=True)
    )


def _is_ids(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 1 and not value.is_floating_point()
