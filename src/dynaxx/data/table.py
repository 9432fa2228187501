"""Rows of a CSV file, each with the number of its line for messages."""

import csv
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

from dynaxx.data.errors import DataError


class Row(NamedTuple):
    """One row of a table.

    >>> Row("train.csv, line 2", {"file": "a.png"}).cells["file"]
    'a.png'
    """

    told: str
    """File and line, for messages."""
    cells: dict[str, str]
    """Column -> the text in it, without spaces around it."""


class Table(NamedTuple):
    """The columns and rows of a CSV file."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def read_table(data: bytes, told: str, needed: Sequence[str] = ()) -> Table:
    """Read a CSV file with a line of column names; empty lines are passed over.

    >>> read_table(b"file,size\\na.png,2.5\\n", "train.csv", ["file"]).rows[0].cells
    {'file': 'a.png', 'size': '2.5'}

    Args:
        data: content of the file, in UTF-8.
        told: name of the file, for messages.
        needed: columns that it must have.

    Raises:
        DataError: not UTF-8 or no CSV, no rows, a column that is missing or there twice, or a row of another length.
    """
    try:
        text = data.decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{told}: cannot be read ({error}); give a CSV file in UTF-8 with commas") from None
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if len(lines) < 2:
        raise DataError(f"{told}: has no rows; give a line of column names and a line for each image")
    (_, columns), *rest = lines
    for column in needed:
        if column not in columns:
            raise DataError(f"{told}: has no column {column!r}; its columns are {', '.join(columns)}")
    if twice := [column for column in columns if columns.count(column) > 1]:
        raise DataError(f"{told}: has column {twice[0]!r} more than once; rename one")
    for number, cells in rest:
        if len(cells) != len(columns):
            raise DataError(
                f"{told}, line {number}: has {len(cells)} cells, not {len(columns)}; quote cells with commas"
            )
    rows = (Row(f"{told}, line {number}", dict(zip(columns, cells, strict=True))) for number, cells in rest)
    return Table(tuple(columns), tuple(rows))


def number(text: str) -> float | None:
    """The finite number that a cell holds, or None.

    >>> number("2.5"), number("nan"), number("wide")
    (2.5, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
