"""Dynaxx: cross-layer resonance for trained, frozen networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = {
    "Anchors": "dynaxx.resonance.anchors",
    "CalibrationReport": "dynaxx.model.calibration",
    "Posthoc": "dynaxx.model.posthoc",
    "ResonanceConfig": "dynaxx.config",
    "ResonanceError": "dynaxx.errors",
    "ResonanceWarning": "dynaxx.errors",
    "ResonantModel": "dynaxx.model.resonant_model",
    "Stability": "dynaxx.fixed_point.contraction",
    "TapStates": "dynaxx.model.inspection",
    "Trace": "dynaxx.resonance.trace",
    "load_resonance": "dynaxx.model.wrap",
    "stages": "dynaxx.backbone.layers",
    "tap_states": "dynaxx.model.inspection",
    "wrap_with_resonance": "dynaxx.model.wrap",
}
"""Where each name is made: what needs no torch (composing parameters, the servers) does not load it."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
