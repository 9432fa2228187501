"""`python -m pipelines.show`: print the final table, the path of the report and the name of the registered model."""

import sys
from pathlib import Path

from rich.console import Console

from dynaxx.evaluation import Evaluation, EvaluationError
from dynaxx.evaluation.report import terminal_table
from pipelines.common.help import SHOW, answered
from pipelines.common.stage import OUTPUTS
from pipelines.report import REGISTERED


def main() -> int:
    """Print the results of the last pipeline run."""
    try:
        evaluation = Evaluation.from_json(OUTPUTS / "evaluate" / "evaluation.json")
    except EvaluationError as error:
        print(f"error: {error}; run `dvc repro` first", file=sys.stderr)
        return 1
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(terminal_table(evaluation))
    for answer in evaluation.decision.answers:
        console.print(f"{answer.question} {answer.answer}", style="bold", highlight=False, markup=False)
        for reason in answer.reasons:
            console.print(f"- {reason}", highlight=False, markup=False)
    for sentence in evaluation.decision.beside:
        console.print(f"- {sentence}", highlight=False, markup=False)
    for name in ("report", "decision"):
        page = Path(OUTPUTS / "report" / f"{name}.html").resolve()
        console.print(f"{name}: {page}", soft_wrap=True, highlight=False)
    registered = OUTPUTS / "report" / REGISTERED
    if registered.exists():  # no report of an earlier version has it
        console.print(f"model: {registered.read_text().strip()}", soft_wrap=True, highlight=False, markup=False)
    return 0


if __name__ == "__main__":
    status = answered(SHOW)
    sys.exit(main() if status is None else status)
