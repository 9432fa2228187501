"""Dynaxx: cross-layer resonance for trained, frozen networks."""

from dynaxx.backbone.layers import stages
from dynaxx.config import ResonanceConfig
from dynaxx.errors import ResonanceError, ResonanceWarning
from dynaxx.fixed_point.contraction import Stability
from dynaxx.model.calibration import CalibrationReport
from dynaxx.model.inspection import TapStates, tap_states
from dynaxx.model.posthoc import Posthoc
from dynaxx.model.resonant_model import ResonantModel
from dynaxx.model.wrap import load_resonance, wrap_with_resonance
from dynaxx.resonance.anchors import Anchors
from dynaxx.resonance.trace import Trace

__all__ = [
    "Anchors",
    "CalibrationReport",
    "Posthoc",
    "ResonanceConfig",
    "ResonanceError",
    "ResonanceWarning",
    "ResonantModel",
    "Stability",
    "TapStates",
    "Trace",
    "load_resonance",
    "stages",
    "tap_states",
    "wrap_with_resonance",
]
__version__ = "0.1.0"
