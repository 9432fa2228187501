"""Accuracy of the arms on corrupted images.

Read `corruptions.py` first (what is done to the images), then `accuracy.py` (how the arms compare on them).
"""

from dynaxx.evaluation.robustness.accuracy import robustness
from dynaxx.evaluation.robustness.corruptions import CORRUPTIONS, STRENGTHS

__all__ = ["CORRUPTIONS", "STRENGTHS", "robustness"]
