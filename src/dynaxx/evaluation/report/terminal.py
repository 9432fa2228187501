"""Table for the terminal: quality on test samples and cost of each arm, a competitor of the comparison."""

from rich.table import Table
from rich.text import Text

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.formatting import gained, scattered, significant, titled, unit_of_gain
from dynaxx.evaluation.results import ArmResult, Evaluation


def terminal_table(evaluation: Evaluation) -> Table:
    """Quality and cost, one row per arm, the arm to deploy in bold; the table is at most 110 columns wide."""
    task, (comparisons, metric) = evaluation.task, evaluation.deciding
    unit = unit_of_gain(metric)
    confidence = f"{100 * comparisons[0].difference.confidence:g} % interval" if comparisons else "with interval"
    table = Table(
        title=Text(f"{task.data}: {task.n_test:,} test images, seeds {', '.join(map(str, task.seeds))}"),
        caption=Text(
            f"gain{f', {unit},' if unit else ''} over {BASELINE}, {confidence}; latency of "
            f"{evaluation.timings['latency'].batch} a pass, × that of {BASELINE}"
        ),
    )
    table.add_column("arm")
    for header in (titled(task.metric), "gain", "live params", "train s", "GFLOPs", "latency", "MB"):
        table.add_column(Text(header), justify="right", no_wrap=True)
    for arm in evaluation.arms:
        cells = (
            arm.name,
            scattered(arm.value_per_seed, task.metric),
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
    comparisons, metric = evaluation.deciding
    for comparison in comparisons:
        if (comparison.a, comparison.b) == (arm.name, BASELINE):
            interval = comparison.difference
            gain, low, high = (
                gained(value, metric, unit=False, digits=1)
                for value in (interval.estimate, interval.low, interval.high)
            )
            return f"{gain} [{low}, {high}]"
    return "–"
