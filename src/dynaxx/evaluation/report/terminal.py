"""Table for the terminal: test accuracy and cost of each arm, a competitor of the comparison."""

from rich.table import Table
from rich.text import Text

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.formatting import points, significant, spread
from dynaxx.evaluation.results import ArmResult, Evaluation


def terminal_table(evaluation: Evaluation) -> Table:
    """Test accuracy and cost, one row per arm, the recommended arm in bold; the table is at most 110 columns wide."""
    task = evaluation.task
    table = Table(
        title=Text(f"{task.data}: {task.n_test:,} test images, seeds {', '.join(map(str, task.seeds))}"),
        caption="gain: points over baseline, 95 % interval",
    )
    table.add_column("arm")
    for header in ("accuracy %", "gain", "live params", "train s", "GFLOPs", "latency", "MB"):
        table.add_column(header, justify="right", no_wrap=True)
    for arm in evaluation.arms:
        cells = (
            arm.name,
            spread(arm.accuracy_per_seed),
            _gain(evaluation, arm),
            f"{arm.live_parameters:,}",
            significant(arm.train_seconds),
            significant(arm.gflops),
            f"{significant(arm.latency.p50_ms)} ms ×{arm.latency.ratio:.2f}",
            significant(arm.peak_memory_mb),
        )
        # Text, not str: rich would read brackets in a name as markup.
        table.add_row(*map(Text, cells), style="bold" if arm.name == evaluation.decision.arm else "")
    return table


def _gain(evaluation: Evaluation, arm: ArmResult) -> str:
    for comparison in evaluation.comparisons:
        if (comparison.a, comparison.b) == (arm.name, BASELINE):
            interval = comparison.difference
            low, high = points(interval.low, 1), points(interval.high, 1)
            return f"{points(interval.estimate, 1)} [{low}, {high}]"
    return "–"
