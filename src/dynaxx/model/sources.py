"""The sources of a call: parsed, checked, and brought onto the grid of messages as the taps are.

P averages what is finer than the grid, and repeats what is coarser.

Shape suffixes: B batch, P positions of the grid, C channels, N tokens.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaxx.backbone import rows_of
from dynaxx.errors import ResonanceError
from dynaxx.grid import Grid
from dynaxx.resonance import Source


def sources_of(
    given: Mapping[str, Any] | None, channels: Mapping[str, int], grid: Grid, like: Tensor, prefix: int = 0
) -> dict[str, Source]:
    """The model's sources on the grid, by name: those of a call, and zeros for those that are None or not given.

    >>> given = {"click": (torch.ones(2, 1), torch.tensor([True, False]))}
    >>> sources_of(given, {"click": 1}, (4, 4), like=torch.zeros(2, 16, 8))["click"].x_BPC.shape
    torch.Size([2, 1, 1])

    Args:
        given: by name a tensor, a pair of a tensor and a (B,) bool tensor of the samples that have it, or None.
        channels: channels of the model's sources by name.
        grid: positions of messages.
        like: a tensor of the batch, (B, …), whose type and device the sources get.
        prefix: number of leading tokens of the grid without a position.

    Raises:
        ResonanceError: what is given is none of these, is no source of the model, does not lie on the grid, or is for
            another number of samples or channels.
    """
    given, batch = {} if given is None else given, like.shape[0]
    found: dict[str, Source] = {}
    if not isinstance(given, Mapping):
        raise ResonanceError(f"sources: {type(given).__name__} is given; give a dict from names to tensors")
    for name, value in given.items():
        if value is None:
            continue
        x, present = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, None)
        if not isinstance(x, Tensor) or not 2 <= x.ndim <= 5:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ResonanceError(f"sources[{name!r}]: {got}; give a (B, C, H, W), (B, N, C) or (B, C) tensor")
        if x.shape[0] != batch:
            raise ResonanceError(f"sources[{name!r}]: {x.shape[0]} samples beside {batch} inputs; give one for each")
        if present is not None:
            if not isinstance(present, Tensor) or present.dtype != torch.bool or present.shape != (batch,):
                raise ResonanceError(f"sources[{name!r}]: mark the samples that have it by a ({batch},) bool tensor")
            x = torch.where(present.view(-1, *[1] * (x.ndim - 1)), x, 0)
        check_channels(name, x, channels)
        found[name] = Source(source_on_grid(name, x.to(like.dtype), grid, prefix), present)
    absent = torch.zeros(batch, dtype=torch.bool, device=like.device)
    zeros = {name: Source(like.new_zeros(batch, 1, width), absent) for name, width in channels.items()}
    return {name: found.get(name, zeros[name]) for name in channels}


def check_channels(name: str, x: Tensor, channels: Mapping[str, int]) -> None:
    """Raise ResonanceError for a source that the model does not have, or of another number of channels."""
    if name not in channels:
        known = ", ".join(channels) or "none; give sources= when you wrap"
        raise ResonanceError(f"sources[{name!r}]: no source of this model; it has {known}")
    width = x.shape[2 if x.ndim == 3 else 1]
    if width != channels[name]:
        raise ResonanceError(
            f"sources[{name!r}]: {tuple(x.shape)} has {width} channels; give {channels[name]}, as a (B, C, H, W), "
            "(B, N, C) or (B, C) tensor"
        )


def source_on_grid(name: str, x: Tensor, grid: Grid, prefix: int) -> Tensor:
    """P x of a source, (B, P, C), or (B, 1, C) where it has one position.

    >>> source_on_grid("click", torch.ones(2, 1, 8, 8), (4, 4), prefix=0).shape
    torch.Size([2, 16, 1])

    On a grid of tokens a map lies row by row behind the prefix, whose tokens get its mean.

    Raises:
        ResonanceError: positions that do not lie on the grid.
    """
    positions = math.prod(grid)
    if x.ndim == 2:
        return x[:, None]
    if x.ndim == 3:
        if positions == 1:
            return x.mean(1, keepdim=True)
        if x.shape[1] != positions:
            raise ResonanceError(
                f"sources[{name!r}]: {x.shape[1]} tokens beside {positions} positions; give as many, or a (B, C) tensor"
            )
        return x
    if positions == 1:
        return x.flatten(2).mean(2)[:, None]
    if len(grid) > 1:
        return _resized(name, x, grid).flatten(2).transpose(1, 2)
    rows = rows_of(positions - prefix, tuple(x.shape[2:]))
    if rows is None:
        raise ResonanceError(
            f"sources[{name!r}]: {tuple(x.shape)} does not lie on {positions - prefix} tokens; give (B, {positions}, C)"
        )
    on_BPC = _resized(name, x, rows).flatten(2).transpose(1, 2)
    return torch.cat([on_BPC.mean(1, keepdim=True).expand(-1, prefix, -1), on_BPC], dim=1) if prefix else on_BPC


def _resized(name: str, x: Tensor, grid: Grid) -> Tensor:
    if x.ndim != len(grid) + 2:
        raise ResonanceError(f"sources[{name!r}]: {tuple(x.shape)} on a grid of {len(grid)} axes; give as many")
    pool = F.adaptive_avg_pool2d if x.ndim == 4 else F.adaptive_avg_pool3d
    finest = tuple(min(have, want) for have, want in zip(x.shape[2:], grid, strict=True))
    x = x if tuple(x.shape[2:]) == finest else pool(x, finest)  # type: ignore[arg-type]
    return x if finest == tuple(grid) else F.interpolate(x, size=grid, mode="nearest")


def read_of(network: nn.Module, given: Mapping[str, Any]) -> dict[str, Any]:
    """The sources among the given ones that a network reads: those of a resonant model, and of no other network.

    >>> read_of(network, {"click": torch.zeros(2, 1, 8, 8)})
    {}
    """
    read = getattr(getattr(network, "config", None), "sources", {})
    return {name: values for name, values in given.items() if isinstance(read, Mapping) and name in read}
