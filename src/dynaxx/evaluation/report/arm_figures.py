"""Plotly figures that compare the arms, the competitors of the comparison.

An arm has the same colour in every figure.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dynaxx.evaluation.arms import BASELINE
from dynaxx.evaluation.formatting import axis_scale, on_axis, titled
from dynaxx.evaluation.report.figure_style import GRID, INK, PALETTE, layout
from dynaxx.evaluation.results import Evaluation
from dynaxx.evaluation.validation import LabelPoint, SizePoint
from dynaxx.tasks import Metric

BUTTON_STYLE = {
    "x": 0,
    "xanchor": "left",
    "y": 1.02,
    "yanchor": "bottom",
    "bgcolor": "white",
    "pad": {"b": 6},
}


def arm_colours(evaluation: Evaluation) -> dict[str, str]:
    """Name of each arm → hex colour, which depends on the position of the arm in `evaluation.arms`."""
    return {arm.name: PALETTE[i % len(PALETTE)] for i, arm in enumerate(evaluation.arms)}


def quality_against_cost(evaluation: Evaluation) -> Any:
    """Scatter plot of one point per arm: the metric on test samples (mean ± deviation over seeds) against cost."""
    import plotly.graph_objects as go

    colours = arm_colours(evaluation)
    arms = evaluation.arms
    costs = {
        f"latency, relative to {BASELINE}": [arm.latency.ratio for arm in arms],
        "GFLOPs per sample": [arm.gflops for arm in arms],
    }
    metric, scale = evaluation.task.metric, axis_scale(evaluation.task.metric)
    means = [scale * arm.mean for arm in arms]
    figure = go.Figure()
    for arm in arms:
        values = scale * np.asarray(arm.value_per_seed)
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        figure.add_scatter(
            x=[arm.latency.ratio],
            y=[float(values.mean())],
            error_y={"array": [deviation], "visible": len(values) > 1, "thickness": 1.5, "width": 5},
            mode="markers+text",
            text=[f"<b>{escape(arm.name)}</b>" if arm.name == evaluation.decision.arm else escape(arm.name)],
            textfont={"color": colours[arm.name], "size": 13},
            marker={"color": colours[arm.name], "size": 18 if arm.name == evaluation.decision.arm else 11},
            name=escape(arm.name),
            hovertemplate="%{text}<br>%{y:.4g}<br>%{x:.3g}<extra></extra>",
            cliponaxis=False,
        )
    buttons = [
        {
            "label": title.split(",")[0].split(" per")[0],
            "method": "update",
            "args": [
                {"x": [[x] for x in xs], "textposition": _label_sides(xs, means)},
                {"xaxis.title.text": title, "xaxis.range": _padded(xs)},
            ],
        }
        for title, xs in costs.items()
    ]
    title, xs = next(iter(costs.items()))
    for trace, side in zip(figure.data, _label_sides(xs, means), strict=True):
        trace.textposition = side
    figure.update_layout(
        **layout(),
        showlegend=False,
        updatemenus=[{"type": "buttons", "direction": "right", "buttons": buttons, **BUTTON_STYLE}],
    )
    figure.update_xaxes(title_text=title, range=_padded(xs), gridcolor=GRID, linecolor=INK, zeroline=False)
    figure.update_yaxes(title_text=f"test {titled(metric)}", gridcolor=GRID, linecolor=INK, zeroline=False)
    return figure


def scatter_figure(evaluation: Evaluation) -> Any:
    """Predicted against measured numbers of the probe and the best reading; on the line both are equal."""
    from plotly.subplots import make_subplots

    found, colours = evaluation.shown.scatter, arm_colours(evaluation)
    figure = make_subplots(rows=1, cols=len(found), subplot_titles=[escape(scatter.column) for scatter in found])
    unit = f", {evaluation.task.metric.unit}" if evaluation.task.metric.unit else ""
    for column, scatter in enumerate(found, start=1):
        ends = [min(scatter.measured), max(scatter.measured)]
        line = {"color": GRID, "width": 2}
        figure.add_scatter(x=ends, y=ends, mode="lines", line=line, showlegend=False, row=1, col=column)
        for arm, predicted in scatter.predicted.items():
            figure.add_scatter(
                x=scatter.measured,
                y=predicted,
                mode="markers",
                marker={"color": colours.get(arm, INK), "size": 6, "opacity": 0.7},
                name=escape(arm),
                showlegend=column == 1,
                hovertemplate=f"{escape(arm)}<br>%{{x:.4g}} measured, %{{y:.4g}} predicted<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_layout(**layout())
    figure.update_xaxes(title_text=f"measured{unit}", gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(title_text=f"predicted{unit}", gridcolor=GRID, linecolor=INK)
    return figure


def size_curve_figure(curve: Sequence[SizePoint], metric: Metric) -> Any:
    """The metric of `explicit` on validation against coupling rank (log scale) and the number of tapped layers."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06)
    for column, what in enumerate(("rank", "taps"), start=1):
        some = sorted((v for v in curve if v.what == what), key=lambda v: v.value)
        figure.add_scatter(
            x=[v.value for v in some],
            y=[on_axis(v.score, metric) for v in some],
            mode="lines+markers",
            line={"color": PALETTE[0], "width": 2},
            text=[f"{v.live_parameters:,} live parameters<br>{escape(', '.join(v.taps))}" for v in some],
            hovertemplate=f"{what} %{{x}}: %{{y:.4g}}<br>%{{text}}<extra></extra>",
            row=1,
            col=column,
        )
        axis = {"type": "log", "tickvals": [v.value for v in some]} if what == "rank" else {"dtick": 1}
        title = "rank" if what == "rank" else "number of taps"
        figure.update_xaxes(title_text=title, gridcolor=GRID, linecolor=INK, row=1, col=column, **axis)
    figure.update_layout(**layout(), showlegend=False)
    figure.update_yaxes(gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(title_text=f"validation {titled(metric)}", row=1, col=1)
    return figure


def label_curve_figure(curve: Sequence[LabelPoint], colours: Mapping[str, str], metric: Metric) -> Any:
    """The metric on validation against the number of labelled training images (log scale), one line per arm."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for arm in dict.fromkeys(point.arm for point in curve):
        some = sorted((point for point in curve if point.arm == arm), key=lambda point: point.labels)
        figure.add_scatter(
            x=[point.labels for point in some],
            y=[on_axis(point.score, metric) for point in some],
            mode="lines+markers",
            line={"color": colours.get(arm, INK), "width": 2},
            name=escape(arm),
            hovertemplate=f"{escape(arm)}, %{{x:,}} labels: %{{y:.4g}}<extra></extra>",
        )
    figure.update_layout(**layout())
    ticks = sorted({point.labels for point in curve})
    figure.update_xaxes(title_text="labels", type="log", tickvals=ticks, gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(title_text=f"validation {titled(metric)}", gridcolor=GRID, linecolor=INK)
    return figure


def _label_sides(xs: list[float], ys: list[float]) -> list[str]:
    """Side of each point on which its text stands: away from the nearest point, so that texts do not overlap."""
    points = np.column_stack([xs, ys])
    points = (points - points.mean(axis=0)) / np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return [
        "middle left" if points[nearest, 0] > point[0] else "middle right"
        for point, nearest in zip(points, distances.argmin(axis=1), strict=True)
    ]


def _padded(xs: list[float]) -> list[float]:
    """Lower and upper end of an axis, with room for texts on both sides even if all costs are equal."""
    margin = 0.3 * (max(xs) - min(xs)) or 0.1 * max(xs) or 1.0
    return [min(xs) - margin, max(xs) + margin]
