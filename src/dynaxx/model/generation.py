"""Text generation with the backbone's own `generate`, each step of which is a resonant pass."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError

CACHES = ("past_key_values", "cache_implementation")
"""Arguments that ask `generate` for a key/value cache."""


def generate(
    backbone: nn.Module, forward: Callable[..., Any], config: ResonanceConfig, *args: Any, **kwargs: Any
) -> Any:
    """Run the backbone's `generate` with `forward` in the place of its forward pass; see `ResonantModel.generate`.

    A stand-in runs it, which shares all parts with the backbone and differs in its forward pass. So the backbone is not
    changed, and other threads may use it.

    >>> ids = generate(backbone, model, model.config, input_ids, max_new_tokens=20)  # doctest: +SKIP

    Raises:
        ResonanceError: a backbone without `generate`, or a cache where a message reads more than its own position.
    """
    name = type(backbone).__name__
    if not callable(getattr(backbone, "generate", None)):
        raise ResonanceError(f"generate(): the backbone {name} has none; wrap a generating model, such as …ForCausalLM")
    if not cache_is_exact(config) and "use_cache" in inspect.signature(backbone.forward).parameters:
        asked = [key for key in CACHES if kwargs.get(key) is not None] + ["use_cache"] * bool(kwargs.get("use_cache"))
        if asked:
            raise ResonanceError(
                f"{asked[0]}={kwargs[asked[0]]!r}: with a key/value cache a step sees the last token alone, and these "
                "messages read others, too; leave it out, or wrap with depthwise=False and gate='none'"
            )
        if (given := kwargs.get("generation_config")) is None:
            kwargs |= {"use_cache": False}
        else:
            kwargs |= {"generation_config": copy.deepcopy(given)}
            kwargs["generation_config"].use_cache = False
    stand_in = copy.copy(backbone)
    # the signature is the backbone's, by which `generate` knows what it may pass
    stand_in.__dict__["forward"] = functools.wraps(backbone.forward)(lambda *a, **k: forward(*a, **k))
    return stand_in.generate(*args, **kwargs)  # type: ignore[operator]


def cache_is_exact(config: ResonanceConfig) -> bool:
    """Whether a message at a position depends on that position alone, so that earlier positions need not be run again.

    >>> cache_is_exact(ResonanceConfig()), cache_is_exact(ResonanceConfig(depthwise=False))
    (False, True)
    """
    alone = not config.depthwise and config.gate == "none" and not config.token_pool
    return alone and config.dynamics == "anchored"
