"""Sources: inputs of the call that are read like taps and never written, such as a click or another sensor.

    y_k⁰ = (P x_k - μ_k) / σ_k,    c_lk ← (1-λ) c_lk + λ g_lk φ(V_lkᵀ y_k⁰ + b_lk)       for a source k

P averages what is finer than the grid, and repeats what is coarser. The messages out of a source that a sample lacks
are zero in every iteration, as if its couplings were not there.

Shape suffixes: B batch, P positions of the grid, C channels, N tokens.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaxx.errors import ResonanceError
from dynaxx.resonance.bottleneck import Grid


class Source(NamedTuple):
    """A source for one batch.

    Attributes:
        x: a map (B, C, H, W), tokens (B, N, C) or a vector (B, C), zero in the samples that lack it.
        present: (B,) bool, the samples that have it; None if all have.
    """

    x: Tensor
    present: Tensor | None = None

    def of(self, keep_B: Tensor) -> "Source":
        """The chosen samples alone."""
        return Source(self.x[keep_B], None if self.present is None else self.present[keep_B])


def sources_of(given: Mapping[str, Any] | None, batch: int) -> dict[str, Source]:
    """The sources of a call by name; those that are None are left out.

    >>> sources_of({"click": (torch.ones(2, 1), torch.tensor([True, False]))}, 2)["click"].x
    tensor([[1.],
            [0.]])

    Args:
        given: by name a tensor, a pair of a tensor and a (B,) bool tensor of the samples that have it, or None.
        batch: number of samples.

    Raises:
        ResonanceError: what is given is none of these, or is for another number of samples.
    """
    given, found = {} if given is None else given, {}
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
        found[name] = Source(x, present)
    return found


def check_sources(found: Mapping[str, Source], channels: Mapping[str, int]) -> None:
    """Raise ResonanceError for a source that the couplings do not know, or of another number of channels."""
    for name, (x, _) in found.items():
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


def rows_of(count: int, like: Grid) -> Grid | None:
    """The grid of `count` positions in the proportions of `like`; None if there is none.

    >>> rows_of(49, (14, 14)), rows_of(50, (14, 14))
    ((7, 7), None)
    """
    if math.prod(like) == count or len(like) != 2:
        return like if math.prod(like) == count else None
    height = max(round((count * like[0] / like[1]) ** 0.5), 1)
    width = count // height
    fits = height * width == count and (like[0] == 1 or width == round(height * like[1] / like[0]))
    return (height, width) if fits else None


def _resized(name: str, x: Tensor, grid: Grid) -> Tensor:
    if x.ndim != len(grid) + 2:
        raise ResonanceError(f"sources[{name!r}]: {tuple(x.shape)} on a grid of {len(grid)} axes; give as many")
    pool = F.adaptive_avg_pool2d if x.ndim == 4 else F.adaptive_avg_pool3d
    finest = tuple(min(have, want) for have, want in zip(x.shape[2:], grid, strict=True))
    x = x if tuple(x.shape[2:]) == finest else pool(x, finest)  # type: ignore[arg-type]
    return x if finest == tuple(grid) else F.interpolate(x, size=grid, mode="nearest")
