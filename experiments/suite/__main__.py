"""`python -m experiments.suite [CASE …] [--data FOLDER] [--seconds S]`: fit what is missing of the suite's cases.

Each fit runs once, and its file of results is kept in experiments/results/suite; a suite that was stopped goes on.
`python -m experiments.suite task=KIND model=NAME data.root=PATH [KEY=VALUE …] [--name NAME]` adds a task of your own.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from experiments.job import ROOT
from experiments.pool import run_all
from experiments.suite.cases import CASES, Case, own
from experiments.suite.fit import jobs, run_suite_job
from experiments.suite.page import PAGE, write_page
from experiments.suite.results import FOLDER


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.suite", description=__doc__, allow_abbrev=False)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"{', '.join(CASES)}; or KEY=VALUE of a task of yours")
    parser.add_argument("--data", type=Path, help="folder of the packs that cases read")
    parser.add_argument("--name", default="own", help="name of a task of yours in the results")
    parser.add_argument("--root", type=Path, default=ROOT, help="where data, anchors and weights are kept")
    parser.add_argument("--results", type=Path, default=FOLDER, help="where files of results are kept")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in each")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no further fit is begun")
    parser.add_argument("--arms", help="only these, comma-separated")
    parser.add_argument("--seeds", type=int, help="only the first so many")
    options = parser.parse_args(arguments)
    until = time.time() + options.seconds
    asked = _asked(parser, options.cases, options.name)
    data = options.data.resolve() if options.data else None
    missed: list[str] = []
    for case in asked:
        if reason := case.missing(data):
            print(reason, flush=True)
            continue
        found = jobs(case, data, options.results)
        if options.arms:
            found = [job for job in found if job.arm in (*options.arms.split(","), "setting")]
        if options.seeds is not None:
            found = [job for job in found if job.seed is None or job.seed < options.seeds]
        missed += run_all(
            found,
            run_suite_job,
            OmegaConf.create(),
            options.root.resolve(),
            workers=options.workers,
            threads=options.threads,
            until=until,
        )
    write_page(options.results, PAGE if options.results == FOLDER else options.results / PAGE.name)
    print("".join(f"missing: {name}\n" for name in missed[:20]) + f"{len(missed)} jobs are missing")
    return 1 if missed else 0


def _asked(parser: argparse.ArgumentParser, words: list[str], name: str) -> list[Case]:
    overrides = [word for word in words if "=" in word]
    if overrides and len(overrides) < len(words):
        parser.error(f"{words}: give names of cases, or the settings of a task of yours")
    if overrides:
        if name in CASES or not name.replace("-", "").isalnum():
            parser.error(f"--name {name}: give letters, digits and dashes, and no name of a case")
        return [own(overrides, name)]
    for word in words:
        if word not in CASES:
            parser.error(f"{word}: no such case; known are {', '.join(CASES)}")
    return [CASES[word] for word in words] or list(CASES.values())


if __name__ == "__main__":
    sys.exit(main())
