"""The results of a run and a description of its machine, written to JSON after each section."""

import json
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.bars import Spread, Verdict
from benchmarks.profile import Operation
from dynaxx.evaluation.cost import hardware
from dynaxx.files import write_text

PACKAGES = ("torch", "torchvision", "timm", "peft", "jax", "jaxlib", "numpy")


@dataclass(frozen=True)
class ArmResult:
    """The measurements of one arm.

    >>> ArmResult("explicit T=5", ms=Spread(11.0, 10.8, 11.3), ratio=Spread(1.1, 1.08, 1.13))

    Attributes:
        arm: name of the arm.
        ms: milliseconds per pass.
        ratio: time relative to the reference arm's, per round.
        peak_mb: peak memory of a pass in 10⁶ bytes, without weights and input; None if not measured.
        held_mb: peak memory with the weights; None if not measured.
    """

    arm: str
    ms: Spread
    ratio: Spread
    peak_mb: float | None = None
    held_mb: float | None = None


@dataclass(frozen=True)
class Section:
    """The results of arms that were timed in turn.

    >>> inference(QUICK, budget=0).reference
    'bare backbone'

    Attributes:
        title: description of the measured task.
        reference: arm that the ratios refer to.
        rounds: number of timed rounds.
        arms: measurements of the arms.
        verdicts: verdicts on the bars whose arms were all built.
        skipped: name → reason for each arm that could not be built.
        profiles: figure → slowest operations, for every figure that missed its bar.
    """

    title: str
    reference: str
    rounds: int
    arms: list[ArmResult]
    verdicts: list[Verdict]
    skipped: dict[str, str]
    profiles: dict[str, list[Operation]]


def machine() -> dict[str, Any]:
    """Hardware, versions, date and commit, ready for JSON."""
    return {
        "hardware": hardware(),
        "versions": {name: _version(name) for name in PACKAGES},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def write(path: Path, machine: dict[str, Any], sections: list[Section]) -> None:
    """Write all sections measured so far; a reader sees either the old file or the new one."""
    found = [asdict(section) for section in sections]
    for section, plain in zip(sections, found, strict=True):
        for verdict, entry in zip(section.verdicts, plain["verdicts"], strict=True):
            entry |= {"met": verdict.met, "missed_by": verdict.missed_by}
    write_text(path, json.dumps(machine | {"sections": found}, indent=2, ensure_ascii=False) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The measured commit, with a + if files differ from it; None outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
