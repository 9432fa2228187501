"""Tables that compare the arms (competitors): accuracy, cost, accuracy differences, and accuracy per cost."""

import numpy as np

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.formatting import p_value, percent, points, significant, spread
from dynaxx.evaluation.report.table import Table, p_or_dash
from dynaxx.evaluation.results import ArmResult, Comparison, Evaluation
from dynaxx.evaluation.statistics import front


def arms_table(evaluation: Evaluation) -> Table:
    """One row per arm: test accuracy, then the cost of training and of prediction."""
    several = len(evaluation.task.seeds) > 1
    return Table(
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


def comparisons_table(evaluation: Evaluation) -> Table:
    """One row per pair of arms: difference in test accuracy, its confidence interval, and p-values."""
    return Table(
        headers=[
            "pair",
            "difference, points",
            "interval",
            "relative",
            "images p",
            "sign-flip p",
            "McNemar p, per seed",
        ],
        rows=[_comparison_row(comparison) for comparison in evaluation.comparisons],
        note=(
            "Accuracy of the first minus accuracy of the second, in percentage points. Interval: paired "
            "bootstrap (BCa), images resampled jointly across seeds; a difference counts when it excludes "
            "zero and neither p of images nor of sign flips is above the level. Images: exact, of how many favour "
            "either arm. Sign-flip: permutation test over seeds, of which it takes at least six. McNemar: exact."
        ),
    )


def _comparison_row(comparison: Comparison) -> list[str]:
    interval = comparison.difference
    return [
        f"{comparison.a} − {comparison.b}",
        points(interval.estimate),
        f"{points(interval.low)} to {points(interval.high)} ({100 * interval.confidence:g} %)",
        percent(comparison.relative),
        p_value(comparison.image_p),
        p_or_dash(comparison.sign_flip_p),
        ", ".join(p_value(test.p) for test in comparison.mcnemar),
    ]


def efficiency_table(evaluation: Evaluation) -> Table:
    """One row per arm: test accuracy per cost, and the costs for which the arm lies on the Pareto front."""
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
    return Table(
        headers=["arm", "on the front of", "points gained per minute of training", "points of accuracy per GFLOP"],
        rows=rows,
        note="On the front of a cost: no other arm is as accurate at that cost or less.",
    )


def _per(fraction: float | None, cost: float) -> str:
    return "–" if fraction is None or cost <= 0 else significant(100 * fraction / cost).replace("-", "−")
