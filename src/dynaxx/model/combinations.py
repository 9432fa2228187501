"""Which options go with which kind of tap: what the configuration alone cannot know."""

from dynaxx.backbone.taps import TapInfo
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError


def check_options(config: ResonanceConfig, info: TapInfo) -> None:
    """Raise ResonanceError for an option that taps like `info` leave no meaning to, or that would let them cheat."""
    if info.tokens:
        _refuse(config, [("grid", None)], "the taps are token sequences")
    else:
        _refuse(config, [("token_pool", False), ("causal", None), ("prefix_tokens", None)], "the taps are maps")
    if info.causal:  # both look at all positions of a sample at once, those behind a token included
        _refuse(config, [("solver", "picard"), ("tolerance", None)], "in causal models tokens hear no future")


def _refuse(config: ResonanceConfig, options: list[tuple[str, object]], because: str) -> None:
    for name, neutral in options:
        if getattr(config, name) != neutral:
            raise ResonanceError(f"{name}={getattr(config, name)!r}: {because}; give {name}={neutral!r}")
