"""A table of the report, as text without markup."""

from dataclasses import dataclass

from dynaxx.evaluation.formatting import p_value


@dataclass(frozen=True)
class Table:
    """A table whose cells are plain text, not escaped for HTML or Markdown; the first column names the row."""

    headers: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: tuple[str, ...] = ()
    """Text of the first cell of each row that is highlighted."""


def p_or_dash(p: float | None) -> str:
    """The p-value as text; a dash for None, which means too few seeds for a test."""
    return "–" if p is None else p_value(p)
