"""Statistics of paired predictions: which arm is more often right on the same images, and is that proven?

Read `proof.py` first (when a difference counts), then `paired.py` (tests and intervals) and `comparisons.py` (the pairs
of arms). `metrics.py` scores one arm, `pareto.py` finds the arms that no other arm beats on both cost and accuracy.
"""

from dynaxx.evaluation.statistics.comparisons import (
    Agreement,
    ClassGain,
    Comparison,
    agreements,
    class_gains,
    compare,
    pairs,
)
from dynaxx.evaluation.statistics.metrics import accuracy, calibration_error, macro_recall, per_class_recall
from dynaxx.evaluation.statistics.paired import (
    Bootstrap,
    Interval,
    McNemar,
    holm,
    image_sign_test,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    relative_gain,
    sign_flip,
)
from dynaxx.evaluation.statistics.pareto import front
from dynaxx.evaluation.statistics.proof import LEVEL, contradiction, verdict_over_tasks

__all__ = [
    "LEVEL",
    "Agreement",
    "Bootstrap",
    "ClassGain",
    "Comparison",
    "Interval",
    "McNemar",
    "accuracy",
    "agreements",
    "calibration_error",
    "class_gains",
    "compare",
    "contradiction",
    "front",
    "holm",
    "image_sign_test",
    "macro_recall",
    "mcnemar",
    "mean_interval",
    "paired_bootstrap",
    "pairs",
    "per_class_recall",
    "relative_gain",
    "sign_flip",
    "verdict_over_tasks",
]
