"""The results of an evaluation for readers: a full HTML page, a one-page summary and a table in the terminal.

Read `page.py` first: it lists all tables and figures of the report. The functions that draw import Plotly.
"""

from dynaxx.evaluation.report.figure_style import GRID, INK, PALETTE, layout
from dynaxx.evaluation.report.one_pager import write_one_pager
from dynaxx.evaluation.report.page import write_plots, write_report
from dynaxx.evaluation.report.terminal import terminal_table
from dynaxx.evaluation.report.validation_tables import Choices

__all__ = [
    "GRID",
    "INK",
    "PALETTE",
    "Choices",
    "layout",
    "terminal_table",
    "write_one_pager",
    "write_plots",
    "write_report",
]
