"""A table of the report as text."""

from dataclasses import dataclass

from dynaxx.evaluation.formatting import p_value


@dataclass(frozen=True)
class Table:
    """Cells as plain text, not escaped for any markup; the first column names the row."""

    headers: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: tuple[str, ...] = ()
    """First cells of the highlighted rows."""


def p_or_dash(p: float | None) -> str:
    """The p-value as text, or a dash with too few seeds for a test."""
    return "–" if p is None else p_value(p)
