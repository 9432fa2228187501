"""The grid of messages: the positions of the last tap that has some, unless one is given.

Shape suffixes: B batch, C channels, N tokens.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from dynaxx.errors import ResonanceError
from dynaxx.grid import Grid, Tap


def message_grid(
    activations: Sequence[Tensor], taps: Sequence[Tap], fixed: tuple[int, int] | None, token_pool: bool
) -> Grid:
    """The positions of messages, from all taps' activations; see `ResonanceConfig.grid`."""
    placed = [number for number, tap in enumerate(taps) if not tap.point]
    if not placed or (token_pool and not taps[0].causal):
        return (1,)
    last, maps = placed[-1], [number for number in placed if taps[number].dims]
    if not maps or last == maps[-1]:
        return grid_of(activations[last], fixed)
    count = activations[last].shape[1] - taps[last].prefix
    found = fixed or rows_of(count, tuple(activations[maps[-1]].shape[2:]))
    if found is None:
        raise ResonanceError(f"layers: {taps[last].path!r} gave {count} tokens, which make no grid; give grid=")
    return found


def grid_of(last: Tensor, fixed: tuple[int, int] | None) -> Grid:
    """(h, w) or (d, h, w) of the last tap, or `fixed`; (N,) for tokens."""
    return (last.shape[1],) if last.ndim == 3 else fixed or tuple(last.shape[2:])


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
