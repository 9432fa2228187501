"""Selection of the backbone layers that resonance couples, and advice whether resonance is worth a try at all."""

from dynaxx.selection.advise import Advice, advise
from dynaxx.selection.candidates import candidates
from dynaxx.selection.choose import Choice, choose
from dynaxx.selection.cka import debiased_cka
from dynaxx.selection.evidence import Evidence, gather
from dynaxx.selection.expected_gain import PAIRS, MeasuredPair, leave_task_out, read_pairs
from dynaxx.selection.features import LAST
from dynaxx.selection.overhead import overhead
from dynaxx.selection.scores import Score, score
from dynaxx.selection.select import Selection, select_layers
from dynaxx.selection.spread import spread
from dynaxx.selection.travel import Travel, travel

__all__ = [
    "LAST",
    "PAIRS",
    "Advice",
    "Choice",
    "Evidence",
    "MeasuredPair",
    "Score",
    "Selection",
    "Travel",
    "advise",
    "candidates",
    "choose",
    "debiased_cka",
    "gather",
    "leave_task_out",
    "overhead",
    "read_pairs",
    "score",
    "select_layers",
    "spread",
    "travel",
]
