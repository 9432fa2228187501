"""The model that users work with: `wrap` makes a `ResonantModel`, a backbone with one or more trainable adapters.

`resonant_model` runs the backbone and offers context managers that change a pass. `adapter` is one set of couplings
and head, and `adapters` holds several adapters by name; `run_adapters` runs many from one pass, those of one kind as a
`stack`. `loading` makes or reads an adapter, `saving` writes its files,
and `fingerprint` tells backbones apart. `freezing` keeps a backbone's flags, and `switches` each thread's own state.
`statistics` and `losses` serve training, `runaway` watches it, and `generation` generates text. `calibration` adjusts a
trained loop by a `metric`, and `inspection` shows the tapped layers before and after the loop. `disagreement` says
where the layers do not agree: `predictors` predict each from the others, a `gaussian` scores what is left, and
`fit_disagreement` fits both.
"""

from dynaxx.model.adapter import Adapter, pooled_key
from dynaxx.model.calibration import CalibrationReport, calibrate
from dynaxx.model.disagreement import Disagreement, DisagreementOptions
from dynaxx.model.fingerprint import fingerprint
from dynaxx.model.inspection import TapBeforeAfter, states_of, tap_states
from dynaxx.model.keeping import saved_head
from dynaxx.model.losses import extra_losses
from dynaxx.model.readout import as_map, deviation, features, size_of
from dynaxx.model.resonant_model import Posthoc, ResonantModel
from dynaxx.model.sources import read_of
from dynaxx.model.statistics import anchor_parts
from dynaxx.model.wrap import load_resonance, wrap_with_resonance

__all__ = [
    "Adapter",
    "CalibrationReport",
    "Disagreement",
    "DisagreementOptions",
    "Posthoc",
    "ResonantModel",
    "TapBeforeAfter",
    "anchor_parts",
    "as_map",
    "calibrate",
    "deviation",
    "extra_losses",
    "features",
    "fingerprint",
    "load_resonance",
    "pooled_key",
    "read_of",
    "saved_head",
    "size_of",
    "states_of",
    "tap_states",
    "wrap_with_resonance",
]
