"""The activations of every coupled tap (tapped layer) before and after the loop, for inspection."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dynaxx.backbone import canonical
from dynaxx.errors import ResonanceError
from dynaxx.grid import on_grid
from dynaxx.model.resonant_model import ResonantModel
from dynaxx.resonance import Anchors


class TapBeforeAfter(NamedTuple):
    """Activations of one tap for one batch, on the common grid of P positions.

    Attributes:
        tap: module path.
        before: pooled activation P x_l⁰ before the loop, (B, P, C_l).
        after: pooled activation P x_l⁰ + Δ_l after the loop, also for taps that the rest of the network does not read.
        grid: (h, w) or (tokens,), P positions in all.
    """

    tap: str
    before: Tensor
    after: Tensor
    grid: tuple[int, ...]


def tap_states(model: ResonantModel, *args: Any, **kwargs: Any) -> list[TapBeforeAfter]:
    """The activations of the taps that receive messages, in depth order, for one batch of backbone arguments.

    >>> [state.tap for state in tap_states(model, images)]
    ['layer2', 'layer3', 'layer4']

    Raises:
        ResonanceError: a model that is not in explicit mode; the other modes predict only the output taps.
    """
    _check_mode(model)
    return states_of(model, model.read(*args, **kwargs))


@torch.no_grad()
def states_of(model: ResonantModel, anchors: Anchors) -> list[TapBeforeAfter]:
    """The same for anchors that were read before, such as those of a cache.

    >>> [state.tap for state in states_of(model, model.read(images))]
    ['layer2', 'layer3', 'layer4']
    """
    _check_mode(model)
    resonator = model.require_built()
    exchange = resonator.exchange
    whole = anchors.states or anchors.pooled  # a reentrant loop moves taps in their own shape
    chosen = anchors._replace(outputs=[whole[tap] for tap in exchange.targets])
    refined, _ = model.refine(chosen, exchange.targets)
    if anchors.states is not None:
        kinds = [resonator.taps[tap] for tap in exchange.targets]
        states = [canonical(x, tap.layout) for x, tap in zip(refined, kinds, strict=True)]
        pool = model.config.token_pool
        refined = [on_grid(x, tap, anchors.grid, pool) for x, tap in zip(states, kinds, strict=True)]
    return [
        TapBeforeAfter(exchange.names[tap], anchors.pooled[tap], x, tuple(anchors.grid))
        for tap, x in zip(exchange.targets, refined, strict=True)
    ]


def _check_mode(model: ResonantModel) -> None:
    if model.mode != "explicit":
        raise ResonanceError(f"mode={model.mode!r}: only the loop moves every tap; set model.mode = 'explicit'")
