"""The user's network: layer names, captured activations, tokens, traced graph, new head. The network is never changed.

`layers` turns `layers=[2, 3, 4]` into module paths; where a network names no stages, `trunk` observes them. `taps`
captures activations, whose axes `layout` names, and `head` replaces the classifier, both by hooks that live during one
pass. `graph` traces and splits the network, `replace` builds a twin without hooks, `replay` runs what lies behind the
taps by the network's own code, and `execution` chooses between them. `tail` is what lies behind the taps, on its own.
`tokens`, `example` and `moments` hold helper functions.
"""

from dynaxx.backbone.example import Call, as_call, described, device_of, on_device, split_batch, stated_input
from dynaxx.backbone.execution import (
    Couple,
    Execution,
    mark_outputs,
    plan_execution,
    plan_reading,
    warn_of_unread_tokens,
)
from dynaxx.backbone.form import Form, takes
from dynaxx.backbone.grid import grid_of, message_grid, rows_of
from dynaxx.backbone.head import Head, SafeHead, capture_input, check_classifier, find_classifier, replaced_head
from dynaxx.backbone.layers import resolve, stages, thirds
from dynaxx.backbone.layout import canonical, original
from dynaxx.backbone.moments import moments
from dynaxx.backbone.tail import Tail, tail_of
from dynaxx.backbone.taps import (
    Ended,
    TapReader,
    capture,
    check_fits,
    hooked,
    probe,
    read_taps,
    refuse_cut_gradients,
)
from dynaxx.backbone.tokens import with_places, with_token_facts

__all__ = [
    "Call",
    "Couple",
    "Ended",
    "Execution",
    "Form",
    "Head",
    "SafeHead",
    "Tail",
    "TapReader",
    "as_call",
    "canonical",
    "capture",
    "capture_input",
    "check_classifier",
    "check_fits",
    "described",
    "device_of",
    "find_classifier",
    "grid_of",
    "hooked",
    "mark_outputs",
    "message_grid",
    "moments",
    "on_device",
    "original",
    "plan_execution",
    "plan_reading",
    "probe",
    "read_taps",
    "refuse_cut_gradients",
    "replaced_head",
    "resolve",
    "rows_of",
    "split_batch",
    "stages",
    "stated_input",
    "tail_of",
    "takes",
    "thirds",
    "warn_of_unread_tokens",
    "with_places",
    "with_token_facts",
]
