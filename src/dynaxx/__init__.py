"""Dynaxx: cross-layer resonance for trained, frozen networks. This page is the index of the library."""

from dynaxx.backbone import stages
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError, ResonanceWarning
from dynaxx.fixed_point import Stability
from dynaxx.model import (
    CalibrationReport,
    Posthoc,
    ResonantModel,
    TapBeforeAfter,
    load_resonance,
    tap_states,
    wrap_with_resonance,
)
from dynaxx.resonance import Anchors, ResonanceOutput, Trace

__all__ = [
    "Anchors",
    "CalibrationReport",
    "Posthoc",
    "ResonanceConfig",
    "ResonanceError",
    "ResonanceOutput",
    "ResonanceWarning",
    "ResonantModel",
    "Stability",
    "TapBeforeAfter",
    "Trace",
    "load_resonance",
    "stages",
    "tap_states",
    "wrap_with_resonance",
]
__version__ = "0.1.0"
