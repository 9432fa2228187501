"""Measurements and pictures of the trained loop, which exchanges messages between layers of the network.

The measurements cover residuals, gates, ablated couplings, mutual information and pixel attributions.

Read `look.py` first: `look_inside` calls all other files and collects their measurements.
"""

from dynaxx.evaluation.inside.ablation import Ablation
from dynaxx.evaluation.inside.attribution import Attribution
from dynaxx.evaluation.inside.gates import ALL, GateOpening
from dynaxx.evaluation.inside.information import Information
from dynaxx.evaluation.inside.iterations import Iterations
from dynaxx.evaluation.inside.look import Inside, LookOptions, look_inside
from dynaxx.evaluation.inside.pictures import photograph, png, tiled
from dynaxx.evaluation.inside.residuals import ResidualCurve, settled_shares, traced

__all__ = [
    "ALL",
    "Ablation",
    "Attribution",
    "GateOpening",
    "Information",
    "Inside",
    "Iterations",
    "LookOptions",
    "ResidualCurve",
    "look_inside",
    "photograph",
    "png",
    "settled_shares",
    "tiled",
    "traced",
]
