"""The evaluation: is resonance (coupling the layers of a backbone in a loop) worth adopting for a given task?

Read `evaluate.py` first (from trained arms to results), then `decision.py` (from results to a recommendation).

- `arms/`: the competitors of the comparison, called arms; `registry.py` lists them.
- `statistics/`: significance tests, confidence intervals, and the rules for a proven difference in accuracy.
- `cost/`: latency, floating-point operations and memory of each arm.
- `robustness/`: accuracy of each arm on corrupted test images.
- `inside/`: measurements of the loop of `explicit`, the arm that iterates its coupled layers.
- `validation/`: tuning and other studies on validation images; they never open the test images.
- `report/`: the results as an HTML page, a one-page summary and a table in the terminal.
"""

from dynaxx.evaluation.business_value import Prices, with_value
from dynaxx.evaluation.decision import decide
from dynaxx.evaluation.errors import EvaluationError
from dynaxx.evaluation.evaluate import EvaluateOptions, evaluate
from dynaxx.evaluation.formatting import significant
from dynaxx.evaluation.predict import logits
from dynaxx.evaluation.results import ArmResult, Corruption, Decision, Evaluation, TaskSummary

__all__ = [
    "ArmResult",
    "Corruption",
    "Decision",
    "EvaluateOptions",
    "Evaluation",
    "EvaluationError",
    "Prices",
    "TaskSummary",
    "decide",
    "evaluate",
    "logits",
    "significant",
    "with_value",
]
