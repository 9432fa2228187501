"""`python -m benchmarks.backbones [--only NAME …] [--family F] [--write] [--list]`: run the matrix of backbones."""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from benchmarks.backbones.checks import FAIL, NOT_RUN, REFUSED, Finding, Row, as_json, examine, from_json, unexpected
from benchmarks.backbones.entry import Entry
from benchmarks.backbones.page import page
from benchmarks.backbones.registry import ENTRIES, chosen, key

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "outputs" / "backbones.json"
PAGE = ROOT / "docs" / "results" / "backbones.md"


class Parser(argparse.ArgumentParser):
    """A parser with one-line error messages."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; options are --only NAME …, --family F, --write, --list\n")


def state() -> str:
    """A checksum of the code that a row depends on: rows of other code are not kept."""
    files = [*sorted((ROOT / "src" / "dynaxx").rglob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def kept() -> dict[str, Row]:
    """The rows of an interrupted run of the same code, by family and name."""
    if not KEPT.is_file():
        return {}
    found = json.loads(KEPT.read_text())
    return {key: from_json(row) for key, row in found["rows"].items()} if found["state"] == state() else {}


def examined(entry: Entry) -> Row:
    """The row of an entry; an entry that cannot be made is a row, too."""
    try:
        return examine(entry)
    except Exception as error:
        return Row(
            entry.name, entry.family, findings={"auto": Finding(FAIL, f"registry: {type(error).__name__}: {error}")}
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments; the exit status is 1 if a finding is not what the registry expects."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", metavar="NAME", nargs="+", default=(), help="the backbones of these names")
    parser.add_argument("--family", metavar="F", help="the backbones of one library, or those written by hand: plain")
    parser.add_argument("--write", action="store_true", help="all of them, and docs/results/backbones.md from them")
    parser.add_argument("--list", action="store_true", help="only name the backbones")
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.family):
        parser.error("--write is for the whole matrix")
    try:
        entries = chosen(options.only, options.family)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        print("\n".join(key(entry) for entry in entries))
        return 0
    torch.set_num_threads(1)
    rows, odd, known = kept() if options.write else {}, 0, state()
    for number, entry in enumerate(entries, 1):
        if key(entry) not in rows:
            rows[key(entry)] = examined(entry)
            if options.write:
                KEPT.parent.mkdir(parents=True, exist_ok=True)
                KEPT.write_text(json.dumps({"state": known, "rows": {k: as_json(row) for k, row in rows.items()}}))
        row = rows[key(entry)]
        surprising = unexpected(entry, row)
        odd += bool(surprising)
        refused = [name for name, finding in row.findings.items() if finding.verdict == REFUSED]
        print(
            f"{number}/{len(entries)} {key(entry)}: {row.seconds:.1f} s"
            + (f", refused as expected: {', '.join(refused)}" if refused and not surprising else ""),
            flush=True,
        )
        for name, finding in surprising.items():
            if finding.verdict != NOT_RUN:
                print(f"    {name} {finding.verdict}: {finding.why}", flush=True)
        for text in row.warnings:
            print(f"    warning: {text}", flush=True)
    if options.write:
        PAGE.write_text(page([rows[key(entry)] for entry in ENTRIES]))
        print(f"{PAGE.relative_to(ROOT)}: written")
    print(f"{odd} of {len(entries)} backbones are not as expected", file=sys.stderr)
    return int(odd > 0)


if __name__ == "__main__":
    sys.exit(main())
