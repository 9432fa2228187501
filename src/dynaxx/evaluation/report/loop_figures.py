"""Plotly figures about the loop of `explicit`, the arm that iterates over its coupled layers (taps)."""

from html import escape
from typing import Any

import numpy as np

from dynaxx.evaluation.formatting import axis_scale, titled, unit_of_gain
from dynaxx.evaluation.report.figure_style import GRID, INK, PALETTE, layout
from dynaxx.evaluation.report.loop_tables import gate_columns
from dynaxx.evaluation.results import Evaluation


def residual_curves(evaluation: Evaluation) -> Any:
    """Relative residual (log scale) of each tapped layer per iteration: median, and 90th percentile dotted."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, curve in enumerate(evaluation.inside.residuals):
        colour, tap = PALETTE[i % len(PALETTE)], escape(curve.tap)
        for values, label, dash in ((curve.median, "median", "solid"), (curve.p90, "90 %", "dot")):
            figure.add_scatter(
                x=curve.iterations,
                y=[value if value > 0 else None for value in values],  # a settled tap has no logarithm
                mode="lines+markers",
                line={"color": colour, "dash": dash, "width": 2},
                marker={"size": 6 if dash == "solid" else 4},
                name=f"{tap}, {label}",
                hovertemplate=f"{tap}, {label}<br>iteration %{{x}}: %{{y:.2e}}<extra></extra>",
            )
    figure.update_layout(**layout(), legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(title_text="iteration", dtick=1 if _last_iteration(evaluation) <= 20 else None)
    figure.update_yaxes(title_text="relative residual", type="log", exponentformat="power", dtick=1)
    figure.update_xaxes(gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(gridcolor=GRID, linecolor=INK)
    return figure


def iterations(evaluation: Evaluation) -> Any:
    """The metric (mean ± standard deviation over seeds) against the number of loop iterations of `explicit`."""
    import plotly.graph_objects as go

    metric, scale = evaluation.task.metric, axis_scale(evaluation.task.metric)
    found = [scale * np.asarray(results.value_per_seed) for results in evaluation.inside.iterations]
    figure = go.Figure()
    figure.add_scatter(
        x=[results.T for results in evaluation.inside.iterations],
        y=[float(values.mean()) for values in found],
        error_y={"array": [float(values.std(ddof=1)) if len(values) > 1 else 0.0 for values in found]},
        mode="lines+markers",
        line={"color": PALETTE[0], "width": 2},
        hovertemplate="T = %{x}: %{y:.4g}<extra></extra>",
    )
    figure.update_layout(**layout(), showlegend=False)
    figure.update_xaxes(title_text="iterations T", gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(title_text=f"test {titled(metric)}", gridcolor=GRID, linecolor=INK)
    return figure


def gate_openings(evaluation: Evaluation) -> Any:
    """Heat map of the mean gate value per coupling and class; white marks 1, at which a gate has no effect."""
    import plotly.graph_objects as go

    gates, classes = evaluation.inside.gates, gate_columns(evaluation)
    figure = go.Figure(
        go.Heatmap(
            z=[[gate.per_class.get(name) for name in classes] for gate in gates],
            x=[escape(name) for name in classes],
            y=[escape(f"{gate.source} → {gate.target}") for gate in gates],
            zmid=1.0,
            colorscale="RdBu",
            colorbar={"title": "gate"},
            hovertemplate="%{y}<br>%{x}: %{z:.2f}<extra></extra>",
        )
    )
    figure.update_layout(**layout() | {"margin": {"l": 160, "r": 24, "t": 24, "b": 96}})
    return figure


def ablations(evaluation: Evaluation) -> Any:
    """Gain over the complete loop with some couplings silenced, with intervals."""
    import plotly.graph_objects as go

    results = evaluation.inside.ablations[::-1]  # the first on top
    metric, scale = evaluation.task.metric, axis_scale(evaluation.task.metric)
    gains = [scale * a.gain.estimate for a in results]
    figure = go.Figure(
        go.Bar(
            x=gains,
            y=[escape(a.name) for a in results],
            orientation="h",
            marker={"color": [PALETTE[1] if a.gain.high < 0 else PALETTE[6] for a in results]},
            error_x={
                "array": [scale * a.gain.high - g for a, g in zip(results, gains, strict=True)],
                "arrayminus": [g - scale * a.gain.low for a, g in zip(results, gains, strict=True)],
            },
            hovertemplate="%{y}: %{x:.3g}<extra></extra>",
        )
    )
    figure.update_layout(**layout() | {"margin": {"l": 200, "r": 24, "t": 24, "b": 56}})
    unit = unit_of_gain(metric)
    title = f"gain over the whole loop{f', {unit}' if unit else ''}"
    figure.update_xaxes(title_text=title, gridcolor=GRID, linecolor=INK)
    return figure


def information(evaluation: Evaluation) -> Any:
    """Mutual information between every two tapped layers, before and after the loop."""
    import plotly.graph_objects as go

    results = evaluation.inside.information
    names = [escape(f"{i.a}, {i.b}") for i in results]
    figure = go.Figure()
    for label, values, colour in (
        ("before", [i.before for i in results], PALETTE[6]),
        ("after", [i.after for i in results], PALETTE[0]),
    ):
        figure.add_bar(
            x=names, y=values, name=label, marker={"color": colour}, hovertemplate="%{x}: %{y:.2f} nats<extra></extra>"
        )
    figure.update_layout(**layout(), barmode="group", legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    figure.update_yaxes(title_text="mutual information, nats", gridcolor=GRID, linecolor=INK)
    return figure


def _last_iteration(evaluation: Evaluation) -> int:
    return max((max(curve.iterations, default=0) for curve in evaluation.inside.residuals), default=0)
