"""Which layers to couple: candidates, their scores, and the choice."""

from dynaxx.selection.candidates import candidates
from dynaxx.selection.choose import Choice, choose
from dynaxx.selection.cka import debiased_cka
from dynaxx.selection.overhead import overhead
from dynaxx.selection.scores import Score, score
from dynaxx.selection.select import Selection, select_layers

__all__ = [
    "Choice",
    "Score",
    "Selection",
    "candidates",
    "choose",
    "debiased_cka",
    "overhead",
    "score",
    "select_layers",
]
