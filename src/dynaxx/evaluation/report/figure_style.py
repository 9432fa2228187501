"""Colours and Plotly layout that all figures of the report share."""

from typing import Any

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
INK, GRID = "#1f2933", "#e4e7eb"


def layout() -> dict[str, Any]:
    """Plotly layout that all figures share: font, margins, height and background."""
    return {
        "template": "none",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "margin": {"l": 64, "r": 24, "t": 56, "b": 56},
        "height": 440,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
    }
