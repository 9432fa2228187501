"""Dynaxx: cross-layer resonance for trained, frozen networks. This page is the index of the library.

Names are imported when they are first used: a command that only reads files does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynaxx.backbone import stages
    from dynaxx.config import ResonanceConfig
    from dynaxx.errors import ResonanceError, ResonanceWarning
    from dynaxx.fixed_point import Stability
    from dynaxx.model import (
        CalibrationReport,
        Disagreement,
        DisagreementOptions,
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
    "Disagreement",
    "DisagreementOptions",
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

_PACKAGES = ("errors", "config", "fixed_point", "resonance", "backbone", "model")  # those without torch first


def __getattr__(name: str) -> Any:
    if name in __all__:
        for package in _PACKAGES:
            module = import_module(f"{__name__}.{package}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
