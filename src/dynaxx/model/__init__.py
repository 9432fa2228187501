"""The model that users work with: `wrap` makes a `ResonantModel`, a backbone with one or more trainable adapters.

`resonant_model` runs the backbone and offers context managers that change a pass. `adapter` is one set of couplings
and head, and `adapters` holds several adapters by name. `loading` makes or reads an adapter, and `saving` writes its
files. `switches` keeps each thread's own state. `calibration` adjusts a trained loop, and `inspection` shows the tapped
layers before and after the loop.
"""

from dynaxx.model.adapter import Adapter
from dynaxx.model.calibration import CalibrationReport, calibrate
from dynaxx.model.inspection import TapBeforeAfter, tap_states
from dynaxx.model.resonant_model import Posthoc, ResonantModel
from dynaxx.model.wrap import load_resonance, wrap_with_resonance

__all__ = [
    "Adapter",
    "CalibrationReport",
    "Posthoc",
    "ResonantModel",
    "TapBeforeAfter",
    "calibrate",
    "load_resonance",
    "tap_states",
    "wrap_with_resonance",
]
