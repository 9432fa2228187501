"""What a run of the benchmark found, and the machine it ran on; written to JSON as it goes."""

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
    """One arm.

    Attributes:
        arm: its name.
        ms: milliseconds of a pass.
        ratio: its time over the reference arm's, round by round.
        peak_mb: 10⁶ bytes that a pass holds at its peak beside weights and input; None where not asked.
        held_mb: the same with the weights.
    """

    arm: str
    ms: Spread
    ratio: Spread
    peak_mb: float | None = None
    held_mb: float | None = None


@dataclass(frozen=True)
class Section:
    """Arms that were timed in turn.

    Attributes:
        title: what they did.
        reference: the arm that ratios are against.
        rounds: how often each was timed.
        arms: what was found.
        verdicts: on the bars whose arms were all there.
        skipped: arms that could not be built, with the reason.
        profiles: of every figure that missed its bar, the operations that take the time.
    """

    title: str
    reference: str
    rounds: int
    arms: list[ArmResult]
    verdicts: list[Verdict]
    skipped: dict[str, str]
    profiles: dict[str, list[Operation]]


def machine() -> dict[str, Any]:
    """Hardware, versions, date and commit, fit for JSON."""
    return {
        "hardware": hardware(),
        "versions": {name: _version(name) for name in PACKAGES},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
    }


def write(path: Path, machine: dict[str, Any], sections: list[Section]) -> None:
    """Write all that is known so far; a reader sees the old file or the new one."""
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
    """The commit that was measured, with a + where files differ from it; None outside a repository."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()
