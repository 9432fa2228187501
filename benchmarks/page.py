"""`python -m benchmarks.page RESULT.json … > docs/results/benchmarks.md`: runs of the benchmark in Markdown.

The sections of later files, which are runs of parts (`--only`), stand behind those of the first.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOP = 4
"""Number of operations listed for a figure that misses its bar."""


def page(result: dict[str, Any], *later: dict[str, Any]) -> str:
    """The page with all arms and verdicts of results of `benchmarks.results.write`."""
    lines = [
        "# What resonance costs",
        "",
        f"Written by `python -m benchmarks.page` from a run of `make bench`, {_run(result)}. Random weights, 224² "
        "images, rank 32, three taps; arms in turn in one process; medians over rounds, quartiles in brackets; ratios "
        "round by round; MB are 10⁶ bytes of weights and peak of a pass.",
    ]
    for section in result["sections"]:
        lines += _section(section)
    for other in later:
        for section in other["sections"]:
            lines += _section(section, f" From a run of its own, {_run(other)}.")
    return "\n".join(lines) + "\n"


def _run(result: dict[str, Any]) -> str:
    hardware = result["hardware"]
    packages = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    return (
        f"commit {result['commit']}, {result['date']}: {hardware['cpu']}, {hardware['cores']} cores, "
        f"{hardware['torch_threads']} threads, GPU {hardware['gpu'] or 'none'}; {packages}"
    )


def _section(section: dict[str, Any], origin: str = "") -> list[str]:
    rounds = f"{section['rounds']} rounds; × is against {section['reference']}.{origin}"
    lines = ["", f"## {section['title']}", "", rounds, ""]
    lines += ["| arm | ms | × | MB |", "| --- | ---: | ---: | ---: |"]
    for arm in section["arms"]:
        held = "–" if arm["held_mb"] is None else f"{arm['held_mb']:,.0f}"
        lines.append(f"| {arm['arm']} | {_spread(arm['ms'])} | {_spread(arm['ratio'])} | {held} |")
    lines += ["", "| figure | found | bar | |", "| --- | ---: | ---: | --- |"]
    lines += [_verdict(verdict) for verdict in section["verdicts"]]
    for figure, operations in section["profiles"].items():
        took = "; ".join(f"{o['name']} {o['ms']:+.2g} ms in {o['calls']:+.0f} calls" for o in operations[:TOP])
        lines += ["", f"Where the time of {figure} goes: {took}."]
    return lines + [f"\nNot there: {arm} ({why})." for arm, why in section["skipped"].items()]


def _spread(value: dict[str, float]) -> str:
    return f"{value['median']:.4g} ({value['p25']:.4g} to {value['p75']:.4g})"


def _verdict(verdict: dict[str, Any]) -> str:
    sure = verdict["value"]["p25"] > verdict["most"]
    missed = f"missed by {verdict['missed_by']:.3g}{'' if sure else ', within the spread'}"
    bar = f"{verdict['most']:g}{', a goal' if verdict['goal'] else ''}"
    return f"| {verdict['figure']} | {_spread(verdict['value'])} | {bar} | {'met' if verdict['met'] else missed} |"


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; returns the exit status."""
    if not arguments or not all(Path(name).is_file() for name in arguments):
        print("error: give files of benchmarks/results/", file=sys.stderr)
        return 2
    print(page(*(json.loads(Path(name).read_text()) for name in arguments)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
