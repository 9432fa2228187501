"""How good the arms (competitors of the comparison) are on corrupted test images.

Read `corruptions.py` first: it corrupts the images. `accuracy.py` then compares the arms on the corrupted images.
"""

from dynaxx.evaluation.robustness.accuracy import robustness
from dynaxx.evaluation.robustness.corruptions import CORRUPTIONS, STRENGTHS

__all__ = ["CORRUPTIONS", "STRENGTHS", "robustness"]
