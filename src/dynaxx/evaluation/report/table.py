"""A table of the report as text, and how its cells are written."""

from dataclasses import dataclass

from dynaxx.evaluation.formatting import p_value


@dataclass(frozen=True)
class Table:
    """Cells as a reader sees them, not yet escaped for any markup; the first column names the row."""

    headers: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: tuple[str, ...] = ()
    """First cells of the rows to stress."""


def p_or_dash(p: float | None) -> str:
    """A dash where there were too few seeds for a test."""
    return "–" if p is None else p_value(p)
