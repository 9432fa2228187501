"""One HTML page of a sweep's results: the Pareto front, and Optuna's figures of each parameter's influence."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from dynaxx.evaluation import cell, label, of_metric, on_axis, titled
from dynaxx.evaluation.report import GRID, INK, PALETTE, layout
from dynaxx.search.front import Point, points
from dynaxx.tasks import Metric
from dynaxx.templates import render

DIGITS = 2
"""Decimals of per cent, as trials of one sweep differ by little."""

SLICED_KEYS = ("resonance.T", "resonance.rank", "resonance.damping")
"""Parameters that are plotted against the metric, alone and in pairs, if the sweep tuned them."""


def write_page(
    path: Path, study: optuna.Study, metric: Metric, front: Sequence[Point], chosen: Point, facts: dict[str, str]
) -> None:
    """Write the results of a sweep as one self-contained HTML page.

    >>> front = best(study)
    >>> write_page(Path("sweep.html"), study, metric, front, knee(front, metric), {"trials": "50"})

    Args:
        study: the sweep's study.
        metric: the task's metric, the study's first objective.
        front: Pareto front of the study, with measured latencies.
        chosen: chosen point of the front.
        facts: properties of the sweep, name → value, for the head of the page.
    """
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from dynaxx.files import write_text

    drawn = {name: figure for name, figure in _figures(study, metric, front, chosen).items() if figure is not None}
    config = {"responsive": True, "displaylogo": False, "displayModeBar": False}
    context = {
        "plotlyjs": Markup(get_plotlyjs()),
        "figures": {
            name: Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config))
            for name, figure in drawn.items()
        },
        "headers": ["trial", *chosen.params, titled(metric), "GFLOPs", "latency ratio", "live parameters"],
        "rows": [(point.number == chosen.number, cells(point, metric)) for point in front],
        "title": label(metric.name),
        "score": of_metric(chosen.score, metric, DIGITS),
        "chosen": chosen,
        "facts": facts,
    }
    write_text(path, render("sweep.html.j2", context, Path(__file__).parent))


def cells(point: Point, metric: Metric) -> list[str]:
    """The table cells of one point of the Pareto front; `metric` is the task's."""
    values = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in point.params.values()]
    ratio = "" if point.latency_ratio is None else f"{point.latency_ratio:.2f}"
    score = cell(point.score, metric, DIGITS)
    return [str(point.number), *values, score, f"{point.gflops:.4g}", ratio, f"{point.live_parameters:,}"]


def _figures(study: optuna.Study, metric: Metric, front: Sequence[Point], chosen: Point) -> dict[str, Any]:
    from optuna import visualization as show

    plain = _one_objective(study)
    sliced = [name for name in SLICED_KEYS if name in chosen.params]
    target: dict[str, Any] = {"target_name": f"validation {titled(metric, plain=True)}"}
    return {
        "front": _front(points(study), metric, front, chosen),
        "importances": _figure_or_none(lambda: show.plot_param_importances(plain, **target)),
        "parallel": _figure_or_none(lambda: show.plot_parallel_coordinate(plain, **target)),
        "slices": _figure_or_none(lambda: show.plot_slice(plain, params=sliced, **target)) if sliced else None,
        "contours": _figure_or_none(lambda: _contours(plain, sliced, target)) if len(sliced) > 1 else None,
    }


def _contours(plain: optuna.Study, sliced: list[str], target: dict[str, Any]) -> Any:
    return optuna.visualization.plot_contour(plain, params=sliced, **target).update_layout(height=300 * len(sliced))


def _figure_or_none(draw: Callable[[], Any]) -> Any:
    """A figure of Optuna in the report's colours, or None if there are too few trials for it."""
    try:
        figure = draw()
    except (ValueError, RuntimeError):
        return None
    if not figure.data:
        return None
    style = layout()
    figure.update_layout(font=style["font"], paper_bgcolor="white", plot_bgcolor="white", title=None, margin={"t": 24})
    return figure


def _one_objective(study: optuna.Study) -> optuna.Study:
    """The usable trials with the metric as their only objective, as required by Optuna's single-objective figures."""
    plain = optuna.create_study(direction=study.directions[0])
    kept = {point.number for point in points(study)}
    trials: list[FrozenTrial] = study.get_trials(states=(TrialState.COMPLETE,))
    for trial in trials:
        if trial.number in kept:
            plain.add_trial(
                optuna.create_trial(params=trial.params, distributions=trial.distributions, value=trial.values[0])
            )
    return plain


def _front(tried: Sequence[Point], metric: Metric, front: Sequence[Point], chosen: Point) -> Any:
    """Plot the metric against GFLOPs: one dot per trial, the Pareto front as a line, the chosen point marked."""
    import plotly.graph_objects as go

    def text(point: Point) -> str:
        rows = [f"{escape(key)} = {escape(str(value))}" for key, value in point.params.items()]
        if point.latency_ratio is not None:
            rows.append(f"latency {point.latency_ratio:.2f} of the backbone's")
        return "<br>".join([f"trial {point.number}", *rows])

    groups: tuple[tuple[str, Sequence[Point], str, str, int], ...] = (
        ("other trials", [p for p in tried if p.number not in {q.number for q in front}], "markers", GRID, 8),
        ("front", front, "lines+markers", PALETTE[0], 10),
        ("chosen", [chosen], "markers", PALETTE[1], 16),
    )
    figure = go.Figure()
    for name, some, mode, colour, size in groups:
        figure.add_scatter(
            x=[p.gflops for p in some],
            y=[on_axis(p.score, metric) for p in some],
            mode=mode,
            name=name,
            marker={"color": colour, "size": size, "line": {"color": INK, "width": 0.5}},
            text=[text(p) for p in some],
            customdata=[of_metric(p.score, metric, DIGITS) for p in some],
            hovertemplate="%{text}<br>%{customdata} at %{x:.4g} GFLOPs<extra></extra>",
        )
    figure.update_layout(**layout(), legend={"orientation": "h", "y": 1.08})
    figure.update_xaxes(title_text="GFLOPs per image", gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(title_text=f"validation {titled(metric)}", gridcolor=GRID, linecolor=INK)
    return figure
