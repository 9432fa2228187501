"""Dataclasses in JSON files: a file is written completely or not at all, and reading checks every key."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dynaxx.evaluation.errors import EvaluationError
from dynaxx.files import write_text

T = TypeVar("T")


def write_records(path: Path, value: Any) -> None:
    """Write a dataclass or a list of dataclasses as JSON: `write_records(path, [LabelPoint("direct", 50, 0.5)])`."""
    write_text(path, json.dumps(value, indent=2, default=asdict) + "\n")


def read_records(path: Path, kind: type[T], stage: str) -> T:
    """Read a JSON file of `write_records` as an object of type `kind`.

    >>> read_records(path, list[LabelPoint], "vary")
    [LabelPoint(arm='direct', labels=50, score=0.5)]

    Args:
        path: the JSON file.
        kind: a dataclass, or a list of one.
        stage: name of the DVC stage that writes the file; the error message tells the user to run it.

    Raises:
        EvaluationError: the file is missing, or a key or value is wrong.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        what = first_fault(error)
    except OSError as error:
        what = str(error)
    raise EvaluationError(f"{path}: cannot be read ({what}); run `dvc repro -f {stage}`")


def first_fault(error: ValidationError) -> str:
    """The first wrong key of a JSON file and the reason, such as "arms.0.gflops: field required"."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]}"
