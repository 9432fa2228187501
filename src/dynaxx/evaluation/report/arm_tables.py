"""Tables that compare the arms (competitors): quality, cost, gains, and quality per cost."""

from dynaxx.evaluation.arms import BASELINE, EXPLICIT, IMPLICIT
from dynaxx.evaluation.cost import FEWEST_ROUNDS
from dynaxx.evaluation.costs import PER
from dynaxx.evaluation.formatting import (
    gained,
    in_points,
    label,
    measure,
    number,
    p_value,
    percent,
    scattered,
    significant,
    titled,
    unit_of_gain,
)
from dynaxx.evaluation.report.table import Table, p_or_dash
from dynaxx.evaluation.results import ArmResult, Comparison, Evaluation
from dynaxx.evaluation.statistics import front
from dynaxx.tasks import Metric


def arms_table(evaluation: Evaluation) -> Table:
    """One row per arm: the metric and other measures on test samples, then the cost of training and of prediction."""
    task = evaluation.task
    measures = [name for name in evaluation.arms[0].measures_per_seed if name != task.metric.name]
    priced = any(arm.costs for arm in evaluation.arms)
    calibration = "Calibration error: expected distance of confidence from accuracy, 15 bins. "
    return Table(
        headers=[
            "arm",
            titled(task.metric),
            *([f"cost per {PER:,} requests", "without thresholds"] if priced else []),
            *(titled(measure(name, task.metric)) for name in measures),
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
        rows=[_arm_row(arm, task.metric, measures, priced) for arm in evaluation.arms],
        note=(
            f"{'Mean ± standard deviation over seeds. ' if len(task.seeds) > 1 else ''}"
            f"{calibration if 'calibration_error' in measures else ''}"
            "Live parameters can change the output. GFLOPs are per sample, a multiply-add counted as two. The latency "
            f"ratio is the median of round-by-round ratios to {BASELINE}, its middle half in brackets, with "
            f"{_samples(evaluation.timings['latency'].batch)} a pass; samples / s with "
            f"{_samples(evaluation.timings['throughput'].batch)}. Memory is what one forward pass holds at its peak "
            f"beside weights and input. {timing_note(evaluation)}"
        ),
        marked=(evaluation.decision.arm,),
    )


def timing_note(evaluation: Evaluation) -> str:
    """How often the arms were timed, and which ratios did not become as precise as asked."""
    sentences = []
    for what, timing in evaluation.timings.items():
        told = f"{what.capitalize()}: {timing.rounds} {'round' if timing.rounds == 1 else 'rounds'}"
        if timing.rounds < FEWEST_ROUNDS:
            told += ", ended by the limit of time; too few to say how precise the ratios are"
        elif timing.imprecise:
            worst = max(timing.imprecise.values())
            told += (
                f", ended by the limit of time; not known to {percent(timing.precision)}: "
                f"{', '.join(timing.imprecise)} (up to {percent(worst)})"
            )
        sentences.append(f"{told}.")
    return " ".join(sentences)


def _samples(batch: int) -> str:
    return f"{batch} {'sample' if batch == 1 else 'samples'}"


def _arm_row(arm: ArmResult, metric: Metric, measures: list[str], priced: bool) -> list[str]:
    latency, costs = arm.latency, arm.costs
    of_costs = ["–", "–"]
    if costs is not None:
        interval = costs.per_1000
        span = f"{number(interval.low)} to {number(interval.high)}"
        of_costs = [f"{number(interval.estimate)} ({span})", number(costs.plain)]
    return [
        arm.name,
        scattered(arm.value_per_seed, metric),
        *(of_costs if priced else []),
        *(scattered(arm.measures_per_seed[name], measure(name, metric)) for name in measures),
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
    """One row per pair of arms that the decision is about: the gain, its confidence interval, and p-values."""
    asked = {evaluation.decision.arm, evaluation.decision.best, EXPLICIT, IMPLICIT}
    comparisons, metric = evaluation.deciding
    shown = [c for c in comparisons if c.b == BASELINE or {c.a, c.b} & asked]
    tested = any(comparison.mcnemar for comparison in shown)
    drawn = "groups of samples" if evaluation.task.groups else "samples"
    mcnemar = " McNemar: exact." if tested else ""
    relative = "of an error the part that is gone" if not metric.higher_is_better else "of what the second reaches"
    return Table(
        headers=[
            "pair",
            f"gain, {unit_of_gain(metric)}" if unit_of_gain(metric) else "gain",
            "interval",
            "relative",
            f"{drawn.split()[0]} p",
            "sign-flip p",
            *(["McNemar p, per seed"] if tested else []),
        ],
        rows=[_comparison_row(comparison, metric, tested) for comparison in shown],
        note=(
            f"How much better the first is than the second in {label(metric.name)}; relative: {relative}. Interval: "
            f"paired bootstrap (BCa), {drawn} resampled jointly across seeds; a gain counts when it excludes zero and "
            f"neither p of {drawn} nor of sign flips is above the level. Both are p-values of permutation "
            f"tests that flip signs of differences; over seeds it takes at least six.{mcnemar}"
        ),
    )


def _comparison_row(comparison: Comparison, metric: Metric, tested: bool) -> list[str]:
    interval = comparison.difference
    low, high = (gained(end, metric, unit=False) for end in (interval.low, interval.high))
    return [
        f"{comparison.a} − {comparison.b}",
        gained(interval.estimate, metric, unit=False),
        f"{low} to {high} ({100 * interval.confidence:g} %)",
        "–" if comparison.relative is None else percent(comparison.relative),
        p_value(comparison.image_p),
        p_or_dash(comparison.sign_flip_p),
        *([", ".join(p_value(test.p) for test in comparison.mcnemar) or "–"] if tested else []),
    ]


def thresholds_table(evaluation: Evaluation) -> Table:
    """One row per arm and class whose errors have prices: the thresholds that validation samples chose."""
    return Table(
        headers=["arm", "class", "threshold"],
        rows=[
            [arm.name, name, ", ".join(f"{value:+.2f}".replace("-", "−") for value in values)]
            for arm in evaluation.arms
            if arm.costs is not None
            for name, values in arm.costs.thresholds.items()
        ],
        note=(
            "How much larger the log-score of the class has to be than that of the best other one, for each seed; "
            "below 0 it is answered more readily. Chosen where errors on the seed's validation samples cost least."
        ),
    )


def efficiency_table(evaluation: Evaluation) -> Table:
    """One row per arm: what it gains per cost, and the costs for which the arm lies on the Pareto front."""
    metric = evaluation.task.metric
    values = {arm.name: metric.oriented(arm.mean) for arm in evaluation.arms}
    base = values.get(BASELINE)
    fronts = {
        "latency": front([(arm.latency.ratio, values[arm.name]) for arm in evaluation.arms]),
        "GFLOPs": front([(arm.gflops, values[arm.name]) for arm in evaluation.arms]),
        "training": front([(arm.train_seconds, values[arm.name]) for arm in evaluation.arms]),
    }
    scale, unit = (100, "points") if in_points(metric) else (1, metric.unit or label(metric.name))
    rows = []
    for place, arm in enumerate(evaluation.arms):
        gain = None if base is None or arm.name == BASELINE else scale * (values[arm.name] - base)
        rows.append(
            [
                arm.name,
                ", ".join(cost for cost, on in fronts.items() if on[place]) or "–",
                _per(gain, arm.train_seconds / 60),
                _per(gain, arm.gflops),
            ]
        )
    return Table(
        headers=["arm", "on the front of", f"{unit} gained per minute of training", f"{unit} gained per GFLOP"],
        rows=rows,
        note="On the front of a cost: no other arm is as good at that cost or less.",
    )


def _per(gain: float | None, cost: float) -> str:
    return "–" if gain is None or cost <= 0 else number(gain / cost)
