"""All results as one table on a terminal, followed by remarks."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from benchmarks.bars import Spread
from benchmarks.results import Section
from dynaxx.evaluation import significant


def table(sections: list[Section]) -> Table:
    """The table: one block per section, with one row per arm and one row per figure with a bar."""
    shown = Table(caption="medians over rounds, quartiles in brackets; × the reference: round by round; MB: 10⁶ bytes")
    shown.add_column("arm or figure")
    for header in ("ms", "× reference", "peak MB", "with weights", "verdict"):
        shown.add_column(header, justify="left" if header == "verdict" else "right", no_wrap=True)
    for section in sections:
        shown.add_section()
        # Text, not str: rich would read brackets as markup
        shown.add_row(Text(f"{section.title}, rounds: {section.rounds}", style="bold"))
        for row in section.arms:
            marked = f"{row.arm} (reference)" if row.arm == section.reference else row.arm
            cells = (marked, spread(row.ms), spread(row.ratio), megabytes(row.peak_mb), megabytes(row.held_mb))
            shown.add_row(*map(Text, cells))
        for name in section.skipped:
            shown.add_row(Text(name), "skipped")
        for verdict in section.verdicts:
            style = "green" if verdict.met else "yellow" if verdict.goal else "red"
            shown.add_row(
                Text(verdict.figure), "", Text(spread(verdict.value)), "", "", Text(str(verdict), style=style)
            )
    return shown


def remarks(sections: list[Section]) -> Iterator[str]:
    """Remarks: the reasons for skipped arms, and the slowest operations behind every missed bar."""
    for section in sections:
        for name, reason in section.skipped.items():
            yield f"{section.title}: {name} skipped: {reason}"
        for verdict in section.verdicts:
            if not verdict.met:
                spent = section.profiles.get(verdict.figure, [])
                where = "; ".join(f"{o.name} {o.ms:+.3g} ms in {o.calls:+.3g} calls" for o in spent)
                yield f"{section.title}: {verdict.figure}: {verdict}" + (f"; most of it: {where}" if where else "")


def spread(value: Spread) -> str:
    """Median and quartiles, or the median alone if all are equal."""
    if value.p25 == value.p75:
        return significant(value.median, 4)
    return f"{significant(value.median, 4)} [{significant(value.p25, 4)}, {significant(value.p75, 4)}]"


def megabytes(value: float | None) -> str:
    """The number to a few digits, or a dash if nothing was measured."""
    return "–" if value is None else significant(value)
