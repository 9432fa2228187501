"""Dynaxx: cross-layer resonance for trained, frozen networks."""

from dynaxx.resonance import (
    ResonanceConfig,
    ResonanceError,
    ResonantModel,
    load_resonance,
    wrap_with_resonance,
)

__all__ = ["ResonanceConfig", "ResonanceError", "ResonantModel", "load_resonance", "wrap_with_resonance"]
__version__ = "0.1.0"
