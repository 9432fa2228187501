"""What users hold: `wrap` makes a `ResonantModel`, which holds its adapters.

`resonant_model` runs the backbone and has the switches. `adapter` is one set of couplings and head, `adapters` several
by name, `loading` makes or reads one, and `saving` has the files. `switches` keeps what belongs to a thread.
`calibration` adjusts a trained loop, and `inspection` shows the taps before and after it.
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
