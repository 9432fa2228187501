"""The report's tables as text: headers, rows, and a note that says what the columns mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynaxx.evaluation.compare import BASELINE
from dynaxx.evaluation.formatting import p_value, percent, points, significant, spread
from dynaxx.evaluation.pareto import front
from dynaxx.evaluation.results import ArmResult, Comparison, Evaluation
from dynaxx.evaluation.tuning import Tuned

RESIDUAL_NOTE = (
    "Relative residual ‖F(Δ) − Δ‖ / ‖F(Δ)‖ of explicit's loop, over samples: how far a tap is from settled "
    "after each iteration. Median, and 90th percentile in brackets."
)


@dataclass(frozen=True)
class Grid:
    """Cells as a reader sees them, not yet escaped for any markup; the first column names the row."""

    headers: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: tuple[str, ...] = ()
    """First cells of the rows to stress."""


def arms_grid(evaluation: Evaluation) -> Grid:
    """One row an arm: how well it does, then what it costs."""
    several = len(evaluation.task.seeds) > 1
    return Grid(
        headers=[
            "arm",
            "accuracy %",
            "macro recall %",
            "calibration error %",
            "parameters trained",
            "of them live",
            "training s",
            "GFLOPs",
            "latency p50 ms",
            "p90 ms",
            "p99 ms",
            "latency ratio",
            "samples / s",
            "memory MB",
        ],
        rows=[_arm_row(arm) for arm in evaluation.arms],
        note=(
            f"{'Mean ± standard deviation over seeds. ' if several else ''}"
            "Calibration error: expected distance of confidence from accuracy, 15 bins. "
            "Live parameters can change the output. GFLOPs are per sample, a multiply-add counted as two. "
            "The latency ratio is the median of round-by-round ratios to the bare backbone, its middle half "
            "in brackets. Memory is what one forward pass holds at its peak beside weights and input."
        ),
        marked=(evaluation.decision.arm,) if evaluation.decision.arm else (),
    )


def _arm_row(arm: ArmResult) -> list[str]:
    latency = arm.latency
    return [
        arm.name,
        spread(arm.accuracy_per_seed),
        spread(arm.macro_recall_per_seed),
        spread(arm.calibration_error_per_seed),
        f"{arm.trained_parameters:,}",
        f"{arm.live_parameters:,}",
        significant(arm.train_seconds),
        significant(arm.gflops),
        significant(latency.p50_ms),
        significant(latency.p90_ms),
        significant(latency.p99_ms),
        f"{latency.ratio:.2f} ({latency.ratio_p25:.2f}–{latency.ratio_p75:.2f})",
        significant(arm.throughput_per_s),
        significant(arm.peak_memory_mb),
    ]


def comparisons_grid(evaluation: Evaluation) -> Grid:
    """One row a pair of arms: the difference, its interval, and McNemar's test of each seed."""
    return Grid(
        headers=["pair", "difference, points", "interval", "relative", "sign-flip p", "McNemar p, per seed"],
        rows=[_comparison_row(comparison) for comparison in evaluation.comparisons],
        note=(
            "Accuracy of the first minus accuracy of the second, in percentage points. Interval: paired "
            "bootstrap (BCa), images resampled jointly across seeds; a difference counts when it excludes "
            "zero. Sign-flip: permutation test over seeds, of which it takes at least six. McNemar: exact."
        ),
    )


def _comparison_row(comparison: Comparison) -> list[str]:
    interval = comparison.difference
    return [
        f"{comparison.a} − {comparison.b}",
        points(interval.estimate),
        f"{points(interval.low)} to {points(interval.high)} ({100 * interval.confidence:g} %)",
        percent(comparison.relative),
        _p(comparison.sign_flip_p),
        ", ".join(p_value(test.p) for test in comparison.mcnemar),
    ]


def _p(p: float | None) -> str:
    return "–" if p is None else p_value(p)


def efficiency_grid(evaluation: Evaluation) -> Grid:
    """One row an arm: what its accuracy costs in training and in inference, and whether another has more for less."""
    accuracies = {arm.name: float(np.mean(arm.accuracy_per_seed)) for arm in evaluation.arms}
    base = accuracies.get(BASELINE)
    fronts = {
        "latency": front([(arm.latency.ratio, accuracies[arm.name]) for arm in evaluation.arms]),
        "GFLOPs": front([(arm.gflops, accuracies[arm.name]) for arm in evaluation.arms]),
        "training": front([(arm.train_seconds, accuracies[arm.name]) for arm in evaluation.arms]),
    }
    rows = []
    for number, arm in enumerate(evaluation.arms):
        gain = None if base is None or arm.name == BASELINE else accuracies[arm.name] - base
        rows.append(
            [
                arm.name,
                ", ".join(cost for cost, on in fronts.items() if on[number]) or "–",
                _per(gain, arm.train_seconds / 60),
                _per(accuracies[arm.name], arm.gflops),
            ]
        )
    return Grid(
        headers=["arm", "on the front of", "points gained per minute of training", "points of accuracy per GFLOP"],
        rows=rows,
        note="On the front of a cost: no other arm is as accurate at that cost or less.",
    )


def _per(fraction: float | None, cost: float) -> str:
    return "–" if fraction is None or cost <= 0 else significant(100 * fraction / cost).replace("-", "−")


def class_gains_grid(evaluation: Evaluation) -> Grid:
    """One row a class, the rarest first: what explicit gains over the baseline there."""
    return Grid(
        headers=["class", "test images", "gain in recall, points", "interval", "Holm p"],
        rows=[
            [
                gain.name,
                f"{gain.images:,}",
                points(gain.difference.estimate),
                f"{points(gain.difference.low)} to {points(gain.difference.high)}",
                _p(gain.holm_p),
            ]
            for gain in evaluation.class_gains
        ],
        note=(
            "Recall of explicit minus that of the baseline; interval: paired bootstrap over the class's images. p: "
            "sign flips over seeds, adjusted by Holm over all classes; it takes at least six seeds."
        ),
    )


def corruptions_grid(evaluation: Evaluation) -> Grid:
    """Two rows' worth a corruption: every arm's accuracy over the strengths, and what explicit gains over it."""
    names = [arm.name for arm in evaluation.arms]
    rows = []
    for found in evaluation.corruptions:
        rows.append(
            [f"{found.name}: accuracy %", *(f"{100 * float(np.mean(found.accuracy[arm])):.1f}" for arm in names)]
        )
        gains = [found.explicit_minus.get(arm) for arm in names]
        cells = ["–" if g is None else f"{points(g.estimate)} [{points(g.low)}, {points(g.high)}]" for g in gains]
        rows.append([f"{found.name}: explicit − arm", *cells])
    return Grid(
        headers=["corruption", *names],
        rows=rows,
        note=(
            "Mean over strengths 1 to 5 and seeds, on some of the test images; below, explicit minus the arm in "
            "points, with its paired interval."
        ),
    )


def agreements_grid(evaluation: Evaluation) -> Grid:
    """Arms against arms: how often they give the same answer."""
    names = [arm.name for arm in evaluation.arms]
    share = {frozenset((found.a, found.b)): found.share for found in evaluation.agreements}
    return Grid(
        headers=["arm", *names],
        rows=[
            [a, *("–" if a == b else f"{100 * share[frozenset((a, b))]:.1f}" for b in names)]
            for a in names
            if evaluation.agreements
        ],
        note="Per cent of the test images that two arms answer alike, right or wrong; mean over seeds.",
    )


def recall_grid(evaluation: Evaluation) -> Grid:
    """One row a class, one column an arm: mean recall over seeds."""
    return Grid(
        headers=["class", *(f"{arm.name} %" for arm in evaluation.arms)],
        rows=[[name, *(_recall(arm, name) for arm in evaluation.arms)] for name in evaluation.task.classes],
        note="The fraction of each class's test images that was recognised, mean over seeds.",
    )


def _recall(arm: ArmResult, name: str) -> str:
    return f"{100 * arm.recall_per_class[name]:.1f}" if name in arm.recall_per_class else "–"


def residuals_grid(evaluation: Evaluation) -> Grid:
    """One row a tap, one column an iteration: median and 90th percentile of the relative residual."""
    iterations = sorted({iteration for curve in evaluation.residuals for iteration in curve.iterations})
    rows = []
    for curve in evaluation.residuals:
        cells = {
            iteration: f"{significant(median, 2)} ({significant(p90, 2)})"
            for iteration, median, p90 in zip(curve.iterations, curve.median, curve.p90, strict=True)
        }
        rows.append([curve.tap, *(cells.get(iteration, "–") for iteration in iterations)])
    return Grid(
        headers=["tap", *(f"iteration {iteration}" for iteration in iterations)],
        rows=rows,
        note=RESIDUAL_NOTE,
    )


def iterations_grid(evaluation: Evaluation) -> Grid:
    """One row a number of iterations: who has settled by then, and what it does to accuracy."""
    solvers = list(evaluation.iterations[0].settled) if evaluation.iterations else []
    return Grid(
        headers=["T", *(f"settled %, {solver}" for solver in solvers), "accuracy %", "difference, points", "interval"],
        rows=[
            [
                str(found.T),
                *(f"{100 * found.settled[solver]:.1f}" for solver in solvers),
                spread(found.accuracy_per_seed),
                points(found.difference.estimate),
                f"{points(found.difference.low)} to {points(found.difference.high)}",
            ]
            for found in evaluation.iterations
        ],
        note=(
            "Explicit run for T iterations, whatever it was trained with. Settled: test images whose residual is "
            "within the tolerance at every tap by then, first seed. Difference: to the T of training, paired interval."
        ),
    )


def gates_grid(evaluation: Evaluation) -> Grid:
    """One row a coupling, one column a class: how far its gate opens."""
    return Grid(
        headers=["coupling", *evaluation.task.classes],
        rows=[
            [
                f"{gate.source} → {gate.target}",
                *(f"{gate.per_class[name]:.2f}" if name in gate.per_class else "–" for name in evaluation.task.classes),
            ]
            for gate in evaluation.gates
        ],
        note="How far explicit's gates open, from 0 (shut) over 1 (as if there were none) to 2; mean over images.",
    )


def tuning_grid(found: Sequence[Tuned]) -> Grid:
    """One row an arm: its validation accuracy with every learning rate, and whether the choice is a safe one."""
    rates = sorted({rate for tuned in found for rate in tuned.rates})
    return Grid(
        headers=["arm", *(f"lr {rate:g}: accuracy %" for rate in rates), "chosen", "flat there"],
        rows=[
            [
                tuned.arm,
                *(f"{100 * tuned.accuracies[tuned.rates.index(rate)]:.1f}" for rate in rates),
                f"{tuned.lr:g}",
                "edge" if tuned.at_the_edge else "yes" if tuned.flat else "no",
            ]
            for tuned in found
        ],
        note=(
            "Validation accuracy on a seed that is not evaluated, as many trials for every arm. Flat: the rates beside "
            "the chosen one lose at most a point; edge: a rate beyond those tried might do better."
        ),
    )


def selection_grid(selection: dict[str, Any]) -> Grid:
    """One row a candidate tap, whatever columns the selection wrote; the chosen ones marked."""
    candidates: list[dict[str, Any]] = selection["candidates"]
    columns = list(dict.fromkeys(key for candidate in candidates for key in candidate))
    return Grid(
        headers=[column.replace("_", " ") for column in columns],
        rows=[[_cell(candidate.get(column)) for column in columns] for candidate in candidates],
        note=str(selection["reason"]),
        marked=tuple(map(str, selection["chosen"])),
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}".replace("-", "−")
    return str(value)
