"""Tables about the loop of `explicit`: residuals, iterations, gates, ablations, information, attributions.

A tap is a tapped layer of the backbone. A coupling carries messages from one tap to another.
"""

from dynaxx.evaluation.formatting import gained, percent, scattered, significant, titled, unit_of_gain
from dynaxx.evaluation.inside import ALL
from dynaxx.evaluation.report.table import Table
from dynaxx.evaluation.results import Evaluation
from dynaxx.tasks import Metric

RESIDUAL_NOTE = (
    "Relative residual ‖F(Δ) − Δ‖ / ‖F(Δ)‖ of explicit's loop, over samples: how far a tap is from settled "
    "after each iteration. Median, and 90th percentile in brackets."
)


def residuals_table(evaluation: Evaluation) -> Table:
    """One row per tapped layer, one column per iteration: median and 90th percentile of the relative residual."""
    iterations = sorted({iteration for curve in evaluation.inside.residuals for iteration in curve.iterations})
    rows = []
    for curve in evaluation.inside.residuals:
        cells = {
            iteration: f"{significant(median, 2)} ({significant(p90, 2)})"
            for iteration, median, p90 in zip(curve.iterations, curve.median, curve.p90, strict=True)
        }
        rows.append([curve.tap, *(cells.get(iteration, "–") for iteration in iterations)])
    return Table(
        headers=["tap", *(f"iteration {iteration}" for iteration in iterations)],
        rows=rows,
        note=RESIDUAL_NOTE,
    )


def iterations_table(evaluation: Evaluation) -> Table:
    """One row per number of loop iterations: share of test images that converged, and the metric."""
    metric = evaluation.task.metric
    solvers = list(evaluation.inside.iterations[0].settled) if evaluation.inside.iterations else []
    return Table(
        headers=["T", *(f"settled %, {solver}" for solver in solvers), titled(metric), _gain(metric), "interval"],
        rows=[
            [
                str(result.T),
                *(f"{100 * result.settled[solver]:.1f}" for solver in solvers),
                scattered(result.value_per_seed, metric),
                gained(result.gain.estimate, metric, unit=False),
                f"{gained(result.gain.low, metric, unit=False)} to {gained(result.gain.high, metric, unit=False)}",
            ]
            for result in evaluation.inside.iterations
        ],
        note=(
            "Explicit run for T iterations, whatever it was trained with. Settled: test images whose residual is "
            "within the tolerance at every tap by then, first seed. Gain: over the T of training, paired interval."
        ),
    )


def gates_table(evaluation: Evaluation) -> Table:
    """One row per coupling of two layers, one column per class: mean gate value over test images."""
    names = gate_columns(evaluation)
    return Table(
        headers=["coupling", *names],
        rows=[
            [
                f"{gate.source} → {gate.target}",
                *(f"{gate.per_class[name]:.2f}" if name in gate.per_class else "–" for name in names),
            ]
            for gate in evaluation.inside.gates
        ],
        note="How far explicit's gates open, from 0 (shut) over 1 (as if there were none) to 2; mean over images.",
    )


def gate_columns(evaluation: Evaluation) -> list[str]:
    """The classes over which gates are averaged; one for all images if they have none."""
    found = {name for gate in evaluation.inside.gates for name in gate.per_class}
    return [ALL] if ALL in found and ALL not in evaluation.task.classes else evaluation.task.classes


def ablations_table(evaluation: Evaluation) -> Table:
    """One row per ablation: the metric of the trained loop with some couplings set to zero."""
    metric = evaluation.task.metric
    return Table(
        headers=["couplings", "silenced", titled(metric), _gain(metric), "interval"],
        rows=[
            [
                result.name,
                str(result.silenced),
                scattered(result.value_per_seed, metric),
                gained(result.gain.estimate, metric, unit=False),
                f"{gained(result.gain.low, metric, unit=False)} to {gained(result.gain.high, metric, unit=False)}",
            ]
            for result in evaluation.inside.ablations
        ],
        note=(
            "The trained loop with couplings switched off and nothing trained again: without each in turn, and with "
            "those alone that write to one tap. Gain: over the whole loop, paired interval."
        ),
    )


def information_table(evaluation: Evaluation) -> Table:
    """One row per pair of tapped layers: their mutual information before and after the loop, in nats."""
    return Table(
        headers=["taps", "before, nats", "after, nats"],
        rows=[[f"{i.a}, {i.b}", f"{i.before:.2f}", f"{i.after:.2f}"] for i in evaluation.inside.information],
        note=(
            "Mutual information of two taps' mean activations over test images, first seed, as far as it is linear: of "
            "Gaussian variables with their canonical correlations, 16 principal components each, minus that of "
            "shuffled pairs."
        ),
    )


def attributions_table(evaluation: Evaluation) -> Table:
    """One row per arm: how faithfully its pixel attributions explain its predictions."""
    return Table(
        headers=[
            "arm",
            "images",
            "completeness gap",
            "deletion",
            "insertion",
            "insertion − deletion",
            "interval",
            "deletion, random order",
        ],
        rows=[
            [
                a.arm,
                str(a.images),
                "–" if a.completeness_gap is None else percent(a.completeness_gap, 2),
                f"{a.deletion:.3f}",
                f"{a.insertion:.3f}",
                f"{a.gain.estimate:+.3f}".replace("-", "−"),
                f"{a.gain.low:+.3f} to {a.gain.high:+.3f}".replace("-", "−"),
                f"{a.random_deletion:.3f}",
            ]
            for a in evaluation.inside.attributions
        ],
        note=(
            "Integrated Gradients of each model's own answers, first seed, from the mean image. Gap: how far the "
            "attributions are from adding up to the change of the logit, median. Deletion and insertion: the answer's "
            "probability, averaged while the pixels named first are put to the mean, or onto it; a deletion that is "
            "not below that in random order says nothing."
        ),
    )


def _gain(metric: Metric) -> str:
    return f"gain, {unit_of_gain(metric)}" if unit_of_gain(metric) else "gain"
