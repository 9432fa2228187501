"""The evaluation: is there more in a network than its last layer says, and what is the cheapest way to get it?

Read `evaluate.py` first (from trained arms to results), then `decision.py` (from results to a recommendation).

- `arms/`: the competitors of the comparison, called arms; `registry.py` lists them.
- `judge.py`: the task kind, the test samples and the statistics in one object; `answers.py` runs one arm.
- `costs.py`, `pricing.py`: errors that do not all cost the same.
- `statistics/`: significance tests, confidence intervals, and the rules for a proven difference.
- `cost/`: latency, floating-point operations and memory of each arm.
- `robustness/`: how good each arm is on corrupted test images.
- `inside/`: measurements of the loop of `explicit`, the arm that iterates its coupled layers.
- `validation/`: tuning and other studies on validation images; they never open the test images.
- `report/`: the results as an HTML page, a one-page summary and a table in the terminal.
"""

from dynaxx.evaluation.business_value import with_value
from dynaxx.evaluation.decision import decide
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.evaluate import evaluate
from dynaxx.evaluation.formatting import (
    cell,
    gained,
    label,
    number,
    of_metric,
    on_axis,
    significant,
    titled,
    unit_of_gain,
)
from dynaxx.evaluation.judge import Judge
from dynaxx.evaluation.options import EvaluateOptions
from dynaxx.evaluation.predict import live, logits
from dynaxx.evaluation.results import ArmResult, Corruption, Decision, Evaluation, TaskSummary
from dynaxx.evaluation.stores import Reading, Stores

__all__ = [
    "ArmResult",
    "Corruption",
    "Decision",
    "EvaluateOptions",
    "Evaluation",
    "EvaluationError",
    "Judge",
    "Reading",
    "Stores",
    "TaskSummary",
    "cell",
    "decide",
    "evaluate",
    "gained",
    "label",
    "live",
    "logits",
    "number",
    "of_metric",
    "on_axis",
    "significant",
    "titled",
    "unit_of_gain",
    "with_value",
]
