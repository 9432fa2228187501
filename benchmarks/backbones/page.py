"""The page docs/results/backbones.md: one table of all backbones, and below it what was refused or wrong, in full."""

from collections.abc import Sequence
from importlib.metadata import version

from benchmarks.backbones.checks import CHECKS, FAIL, NOT_RUN, PASS, REFUSED, Finding, Row

SIGNS = {PASS: "✓", FAIL: "✗", REFUSED: "refused", NOT_RUN: "–"}
VERSIONS = ("torch", "torchvision", "timm", "transformers")


def page(rows: Sequence[Row]) -> str:
    """The page in Markdown."""
    good = sum(all(f.verdict == PASS for f in row.findings.values()) for row in rows)
    wrong = sum(any(f.verdict == FAIL for f in row.findings.values()) for row in rows)
    lines = [
        "# Which backbones can be wrapped",
        "",
        "Written by `python -m benchmarks.backbones --write`: "
        f"{', '.join(f'{name} {version(name)}' for name in VERSIONS)}; the CPU, float32, random weights, small inputs.",
        "",
        f"Of {len(rows)} backbones {good} pass every check, {wrong} fail one, the others are refused something, in a "
        "line that says why. The checks:",
        "",
        *(f"- `{name}`: {(check.__doc__ or '').splitlines()[0]}" for name, check in CHECKS.items()),
    ]
    for family in dict.fromkeys(row.family for row in rows):
        lines += ["", f"## {family}", ""]
        lines += [f"| backbone | taps | layout | tail | {' | '.join(CHECKS)} |", "| --- " * (4 + len(CHECKS)) + "|"]
        lines += [_line(row) for row in rows if row.family == family]
    lines += ["", "## Refusals, failures and warnings", ""]
    for row in rows:
        said = [
            f"`{name}` {SIGNS[f.verdict]}: {_text(f.why)}"
            for name, f in row.findings.items()
            if f.verdict in (FAIL, REFUSED)
        ]
        said += [f"warning: {_text(text)}" for text in row.warnings]
        if said:
            lines += [f"- {row.family} {_text(row.name)}", *(f"  - {text}" for text in said)]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    taps = ", ".join(f"{path} ({width})" for path, width in zip(row.taps, row.channels, strict=True)) or "–"
    facts = [_text(row.name), _text(taps), _text(_once(row.layouts)), _text(row.way)]
    signs = [SIGNS[row.findings.get(name, Finding(NOT_RUN)).verdict] for name in CHECKS]
    return f"| {' | '.join(facts + signs)} |"


def _once(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names)) or "–"


def _text(text: str) -> str:
    for sign in "\\_*|<[":
        text = text.replace(sign, f"\\{sign}")
    return text
