"""The report's figures, from Plotly; colours belong to arms and stay the same wherever an arm appears."""

from html import escape
from typing import Any

import numpy as np

from dynaxx.evaluation.results import Evaluation

PALETTE = (
    "#0b6e4f",
    "#c8553d",
    "#3066be",
    "#e09f3e",
    "#7b2d8b",
    "#119da4",
    "#6c757d",
    "#a4133c",
    "#606c38",
    "#b08968",
)
BUTTON_STYLE = {
    "x": 0,
    "xanchor": "left",
    "y": 1.02,
    "yanchor": "bottom",
    "bgcolor": "white",
    "pad": {"b": 6},
}
INK, GRID = "#1f2933", "#e4e7eb"


def arm_colours(evaluation: Evaluation) -> dict[str, str]:
    """Arm name to hex colour, by place in `evaluation.arms`."""
    return {arm.name: PALETTE[i % len(PALETTE)] for i, arm in enumerate(evaluation.arms)}


def accuracy_against_cost(evaluation: Evaluation) -> Any:
    """One labelled point an arm: mean test accuracy, ± its standard deviation over seeds, against cost."""
    import plotly.graph_objects as go

    colours = arm_colours(evaluation)
    arms = evaluation.arms
    costs = {
        "latency, relative to the bare backbone": [arm.latency.ratio for arm in arms],
        "GFLOPs per sample": [arm.gflops for arm in arms],
    }
    means = [float(np.mean(arm.accuracy_per_seed)) for arm in arms]
    figure = go.Figure()
    for arm in arms:
        accuracies = 100 * np.asarray(arm.accuracy_per_seed)
        deviation = float(accuracies.std(ddof=1)) if len(accuracies) > 1 else 0.0
        figure.add_scatter(
            x=[arm.latency.ratio],
            y=[float(accuracies.mean())],
            error_y={"array": [deviation], "visible": len(accuracies) > 1, "thickness": 1.5, "width": 5},
            mode="markers+text",
            text=[f"<b>{escape(arm.name)}</b>" if arm.name == evaluation.decision.arm else escape(arm.name)],
            textfont={"color": colours[arm.name], "size": 13},
            marker={"color": colours[arm.name], "size": 18 if arm.name == evaluation.decision.arm else 11},
            name=escape(arm.name),
            hovertemplate="%{text}<br>%{y:.2f} %<br>%{x:.3g}<extra></extra>",
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
        **_layout(),
        showlegend=False,
        updatemenus=[{"type": "buttons", "direction": "right", "buttons": buttons, **BUTTON_STYLE}],
    )
    figure.update_xaxes(title_text=title, range=_padded(xs), gridcolor=GRID, linecolor=INK, zeroline=False)
    figure.update_yaxes(title_text="test accuracy, %", gridcolor=GRID, linecolor=INK, zeroline=False)
    return figure


def residual_curves(evaluation: Evaluation) -> Any:
    """Relative residual after each iteration, log scale: a tap's median, its 90th percentile dotted."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, curve in enumerate(evaluation.residuals):
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
    figure.update_layout(**_layout(), legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(title_text="iteration", dtick=1 if _last_iteration(evaluation) <= 20 else None)
    figure.update_yaxes(title_text="relative residual", type="log", exponentformat="power", dtick=1)
    figure.update_xaxes(gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(gridcolor=GRID, linecolor=INK)
    return figure


def iterations(evaluation: Evaluation) -> Any:
    """Accuracy, mean and standard deviation over seeds, against the number of iterations that explicit is run for."""
    import plotly.graph_objects as go

    accuracies = [100 * np.asarray(found.accuracy_per_seed) for found in evaluation.iterations]
    figure = go.Figure()
    figure.add_scatter(
        x=[found.T for found in evaluation.iterations],
        y=[float(values.mean()) for values in accuracies],
        error_y={"array": [float(values.std(ddof=1)) if len(values) > 1 else 0.0 for values in accuracies]},
        mode="lines+markers",
        line={"color": PALETTE[0], "width": 2},
        hovertemplate="T = %{x}: %{y:.2f} %<extra></extra>",
    )
    figure.update_layout(**_layout(), showlegend=False)
    figure.update_xaxes(title_text="iterations T", gridcolor=GRID, linecolor=INK)
    figure.update_yaxes(title_text="test accuracy, %", gridcolor=GRID, linecolor=INK)
    return figure


def gate_openings(evaluation: Evaluation) -> Any:
    """How far each coupling's gate opens for each class: white at 1, where a gate changes nothing."""
    import plotly.graph_objects as go

    gates, classes = evaluation.gates, evaluation.task.classes
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
    figure.update_layout(**_layout() | {"margin": {"l": 160, "r": 24, "t": 24, "b": 96}})
    return figure


def _label_sides(xs: list[float], ys: list[float]) -> list[str]:
    """Labels on the side away from the nearest neighbour, so that close pairs do not overwrite each other."""
    points = np.column_stack([xs, ys])
    points = (points - points.mean(axis=0)) / np.where(np.ptp(points, axis=0) > 0, np.ptp(points, axis=0), 1)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return [
        "middle left" if points[nearest, 0] > point[0] else "middle right"
        for point, nearest in zip(points, distances.argmin(axis=1), strict=True)
    ]


def _last_iteration(evaluation: Evaluation) -> int:
    return max((max(curve.iterations, default=0) for curve in evaluation.residuals), default=0)


def _padded(xs: list[float]) -> list[float]:
    """Room for labels on both sides, also when all arms cost alike."""
    margin = 0.3 * (max(xs) - min(xs)) or 0.1 * max(xs) or 1.0
    return [min(xs) - margin, max(xs) + margin]


def _layout() -> dict[str, Any]:
    return {
        "template": "none",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "margin": {"l": 64, "r": 24, "t": 56, "b": 56},
        "height": 440,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
    }
