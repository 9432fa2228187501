"""The report's tables of what goes on within explicit: residuals, iterations, gates."""

from dynaxx.evaluation.formatting import points, significant, spread
from dynaxx.evaluation.grid import Grid
from dynaxx.evaluation.results import Evaluation

RESIDUAL_NOTE = (
    "Relative residual ‖F(Δ) − Δ‖ / ‖F(Δ)‖ of explicit's loop, over samples: how far a tap is from settled "
    "after each iteration. Median, and 90th percentile in brackets."
)


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
