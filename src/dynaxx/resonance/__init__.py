"""The core of Dynaxx: couplings, the loop in message space, stability, and the resonant model. Needs torch alone."""

from dynaxx.resonance.anchors import Anchors
from dynaxx.resonance.calibration import CalibrationReport
from dynaxx.resonance.config import ResonanceConfig
from dynaxx.resonance.errors import ResonanceError, ResonanceWarning
from dynaxx.resonance.layers import stages
from dynaxx.resonance.model import ResonantModel
from dynaxx.resonance.posthoc import Posthoc
from dynaxx.resonance.stability import Stability
from dynaxx.resonance.states import TapStates, tap_states
from dynaxx.resonance.trace import Trace
from dynaxx.resonance.wrap import load_resonance, wrap_with_resonance

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
