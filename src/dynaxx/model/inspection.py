"""What every coupled tap holds before the loop and after it: for looking inside, not for running."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dynaxx.errors import ResonanceError
from dynaxx.model.resonant_model import ResonantModel
from dynaxx.resonance.anchors import Anchors


class TapStates(NamedTuple):
    """One tap of one batch, on the grid.

    Attributes:
        tap: its path.
        before: P x_l⁰, (B, P, C_l).
        after: P x_l⁰ + Δ_l, what the taps agreed on, also where nothing behind the last tap reads it.
        grid: (h, w) or (tokens,), P positions in all.
    """

    tap: str
    before: Tensor
    after: Tensor
    grid: tuple[int, ...]


@torch.no_grad()
def tap_states(model: ResonantModel, *args: Any, **kwargs: Any) -> list[TapStates]:
    """The taps that receive messages, in depth order, for one batch of the backbone's arguments.

    Raises:
        ResonanceError: a model that is not in explicit mode; the others predict only what the output reads.
    """
    if model.mode != "explicit":
        raise ResonanceError(f"mode={model.mode!r}: only the loop moves every tap; set model.mode = 'explicit'")
    engine = model.built()
    anchors = model.read(*args, **kwargs)
    receivers, seen = engine.receivers(), engine.seen
    whole = anchors.states or anchors.pooled  # a reentrant loop moves taps in their own shape
    try:
        engine.seen = receivers
        agreed, _ = model.agree(anchors._replace(seen=[whole[tap] for tap in receivers]))
    finally:
        engine.seen = seen
    return [
        TapStates(engine.taps[tap], anchors.pooled[tap], _on_grid(model, x, anchors), tuple(anchors.grid))
        for tap, x in zip(receivers, agreed, strict=True)
    ]


def _on_grid(model: ResonantModel, x: Tensor, anchors: Anchors) -> Tensor:
    return model.built().on_grid(x, anchors.grid) if anchors.states is not None else x
