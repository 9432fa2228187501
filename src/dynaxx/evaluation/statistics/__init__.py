"""Statistics of paired predictions: which of two arms (competitors) is more accurate on the same test images?

Read the files in this order:

- `proof.py`: the rules by which a difference in accuracy counts as proven.
- `paired.py`: significance tests and confidence intervals.
- `comparisons.py`: the pairs of arms that are compared.
- `metrics.py`: accuracy, recall and calibration error of one arm.
- `pareto.py`: the arms that no other arm beats on both cost and accuracy.
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
