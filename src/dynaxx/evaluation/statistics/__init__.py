"""Statistics of paired scores: which of two arms (competitors) is better on the same test samples?

Read the files in this order:

- `proof.py`: the rules by which a difference counts as proven.
- `scores.py`, `units.py`: one score per sample, and the samples or groups that are drawn as a whole.
- `paired.py`: significance tests and confidence intervals.
- `comparisons.py`: the pairs of arms that are compared.
- `metrics.py`: recall per class of one arm.
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
from dynaxx.evaluation.statistics.metrics import per_class_recall
from dynaxx.evaluation.statistics.paired import (
    Bootstrap,
    Interval,
    McNemar,
    flip_test,
    holm,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    relative_gain,
    sign_flip,
)
from dynaxx.evaluation.statistics.pareto import front
from dynaxx.evaluation.statistics.proof import LEVEL, contradiction, verdict_over_tasks
from dynaxx.evaluation.statistics.scores import Scores
from dynaxx.evaluation.statistics.units import Groups, unit_numbers

__all__ = [
    "LEVEL",
    "Agreement",
    "Bootstrap",
    "ClassGain",
    "Comparison",
    "Groups",
    "Interval",
    "McNemar",
    "Scores",
    "agreements",
    "class_gains",
    "compare",
    "contradiction",
    "flip_test",
    "front",
    "holm",
    "mcnemar",
    "mean_interval",
    "paired_bootstrap",
    "pairs",
    "per_class_recall",
    "relative_gain",
    "sign_flip",
    "unit_numbers",
    "verdict_over_tasks",
]
