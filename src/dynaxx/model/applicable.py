"""Which options apply to which taps."""

from collections.abc import Sequence

from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError
from dynaxx.grid import Tap


def check_options(config: ResonanceConfig, taps: Sequence[Tap]) -> None:
    """Raise ResonanceError for an option that does not apply to taps of this kind, and for maps of 2 and of 3 axes."""
    dims = {tap.dims for tap in taps if tap.dims}
    vectors = [tap.path for tap in taps if tap.layout == "BC"]
    if len(dims) > 1:
        kinds = ", ".join(f"{tap.path} ({', '.join(tap.layout)})" for tap in taps)
        raise ResonanceError(f"layers: maps of two and of three axes cannot be coupled: {kinds}; name taps of one kind")
    if not dims:
        _refuse(config, [("grid", None)], "the taps are token sequences")
        if config.causal and 0 < len(vectors) < len(taps):
            _refuse(config, [("causal", None)], f"{vectors[0]} has no position, and would read all tokens")
    else:
        because = "the taps are maps" if all(tap.dims for tap in taps) else "some of the taps are maps"
        tokens = any(not tap.dims and tap.layout != "BC" for tap in taps)
        _refuse(config, [("token_pool", False), *([] if tokens else [("prefix_tokens", None)])], because)
        if config.causal:
            _refuse(config, [("causal", None)], because)
        if dims == {3}:
            _refuse(config, [("grid", None)], f"{because} of three spatial axes")
    if taps[0].causal:  # both read all positions of a sample at once, later tokens included
        _refuse(config, [("solver", "picard"), ("tolerance", None)], "in causal models tokens read no future")


def _refuse(config: ResonanceConfig, options: list[tuple[str, object]], because: str) -> None:
    for name, neutral in options:
        if getattr(config, name) != neutral:
            raise ResonanceError(f"{name}={getattr(config, name)!r}: {because}; give {name}={neutral!r}")
