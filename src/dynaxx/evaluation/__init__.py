"""The evaluation: is resonance worth adopting for this backbone and task, and against what is it compared?

Read `evaluate.py` first (from trained arms to results), then `decision.py` (from results to a recommendation).

- `arms/`: the competitors; `registry.py` lists them.
- `statistics/`: tests, intervals, and what counts as proven.
- `cost/`, `robustness/`, `inside/`: what an arm costs, how it fares on worse images, what its loop does.
- `validation/`: studies that never open the test images.
- `report/`: the page, the one-pager and the terminal table.
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
