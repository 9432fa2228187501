"""What token sequences need: which tokens stand for no place, which models hear no future, and how to pool then."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynaxx.backbone.example import Call
from dynaxx.backbone.taps import TapInfo, tapped
from dynaxx.errors import ResonanceError

PREFIX = ("cls_token", "class_token", "dist_token", "distillation_token", "reg_token", "register_tokens")
"""Names under which vision transformers keep the embeddings of tokens in front of the patches."""


def prefix_tokens(model: nn.Module) -> int:
    """How many tokens stand in front of those that have neighbours: class, distillation and register tokens."""
    return sum(p.shape[1] for name, p in model.named_parameters() if name.split(".")[-1] in PREFIX and p.ndim == 3)


def running_mean(x_BPC: Tensor) -> Tensor:
    """The mean of each position and all before it, (B, P, C): what pooling is where nothing may hear its future."""
    count_P1 = torch.arange(1, x_BPC.shape[1] + 1, device=x_BPC.device, dtype=x_BPC.dtype)[:, None]
    return x_BPC.cumsum(1) / count_P1


def with_token_facts(
    infos: Sequence[TapInfo], backbone: nn.Module, call: Call, causal: bool | None, prefix: int | None
) -> list[TapInfo]:
    """What a first pass found, and whether the taps are causal and how many tokens stand in front.

    Args:
        causal: as the user says; None tries it out on `call`.
        prefix: as the user says; None counts.
    """
    if causal is None:
        causal = hears_no_future(backbone, [info.path for info in infos], *call)
    if prefix is None:
        prefix = prefix_tokens(backbone)
    return [dataclasses.replace(info, causal=causal, prefix=prefix) for info in infos]


@torch.no_grad()
def hears_no_future(backbone: nn.Module, paths: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the taps keep what they hold of all tokens but the last when that one is replaced.

    A model of images (B, C, H, W) is not causal.

    Raises:
        ResonanceError: neither images nor token numbers (B, N), N > 1, so nothing can be tried.
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
    held = []
    for call in ((args, kwargs), (changed_args, changed_kwargs)):
        with tapped(backbone, paths, None, [True] * len(paths)) as seen:
            backbone(*call[0], **call[1])
        held.append([seen[path] for path in paths])
    return all(
        torch.allclose(a[:, :-1], b[:, :-1], rtol=1e-4, atol=1e-5 * float(a.abs().max()))
        for a, b in zip(*held, strict=True)
    )


def _is_ids(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 2 and value.shape[1] > 1 and not value.is_floating_point()
