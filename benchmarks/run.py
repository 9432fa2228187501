"""`python -m benchmarks.run [--quick] [--only NAME] [--out FOLDER]`: measure, print one table, write one JSON file."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from benchmarks.loop import loop_alone
from benchmarks.many_tasks import FEW, MANY, many_tasks
from benchmarks.measure import inference
from benchmarks.networks import QUICK, Case, cases
from benchmarks.results import Section, machine, write
from benchmarks.table import remarks, table
from benchmarks.training_step import training
from benchmarks.training_time import training_time

Part = Callable[[], Section]

RESULTS = Path(__file__).parent / "results"
SECONDS = 100.0
"""Time budget of a part, within the limits of `measure.timed` on the number of rounds."""


class Parser(argparse.ArgumentParser):
    """A parser with one-line error messages."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; options are --quick, --only NAME, --out FOLDER\n")


def parts(quick: bool) -> dict[str, Part]:
    """The measurements by name."""
    seconds = 0.0 if quick else SECONDS
    single = QUICK if quick else Case("resnet50", 8)
    named: dict[str, Part] = {
        f"{case.network}-{case.batch}": partial(inference, case, seconds) for case in ([QUICK] if quick else cases())
    }
    whole = [QUICK] if quick else [Case("small_resnet", 128, side=32), Case("resnet50", 8)]
    named |= {f"whole-{case.network}": partial(training_time, case, seconds) for case in whole}
    if not quick:  # the default network, with views and epochs of the experiment landcover
        default = Case("efficientnet_lite0", 32, rank=16)
        named["whole-efficientnet_lite0"] = partial(training_time, default, seconds, views=2, epochs=15)
    few, many = (2, 3) if quick else (FEW, MANY)
    return named | {
        "training": partial(training, single, seconds),
        "tasks": partial(many_tasks, single, seconds, few, many),
        "loop": partial(loop_alone, single, seconds),
    }


def chosen(named: dict[str, Part], only: str | None) -> dict[str, Part]:
    """The parts whose name starts with `only`; ValueError if there are none."""
    found = {name: part for name, part in named.items() if name.startswith(only or "")}
    if not found:
        raise ValueError(f"--only {only}: no such part; there are {', '.join(named)}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a tiny network, a single round: whether all of it runs")
    parser.add_argument("--only", metavar="NAME", help="the parts whose name starts so")
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=RESULTS, help="where the JSON file goes")
    options = parser.parse_args(arguments)
    try:
        todo = chosen(parts(options.quick), options.only)
    except ValueError as error:
        parser.error(str(error))
    facts = machine()
    path = options.out / f"{facts['date'].replace(':', '').replace('+0000', 'Z')}{'-quick' * options.quick}.json"
    sections: list[Section] = []
    for number, (name, part) in enumerate(todo.items(), 1):
        print(f"{name}, {number} of {len(todo)} …", file=sys.stderr, flush=True)
        sections.append(part())
        write(path, facts, sections)  # an interrupted run keeps the sections that are complete
    console = Console(width=None if sys.stdout.isatty() else 150)
    hardware = facts["hardware"]
    where = f"{hardware['cpu']}, {hardware['torch_threads']} threads, GPU {hardware['gpu'] or 'none'}"
    console.print(f"{where}; torch {hardware['torch']}; commit {facts['commit']}", highlight=False, markup=False)
    console.print(table(sections))
    for remark in remarks(sections):
        console.print(f"- {remark}", highlight=False, markup=False)
    console.print(f"results: {path}", soft_wrap=True, highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
