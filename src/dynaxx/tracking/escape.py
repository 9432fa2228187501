"""Users' names and values as MLflow, search filters and file systems take them: escaped here and nowhere else."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

NAME_BYTES = 250
"""Longest name; MLflow takes no more characters, and a file system few more bytes."""
VALUE_CHARACTERS = 6000
"""Longest value of a parameter or tag; MLflow would cut a longer one without a mark in the store."""

ESCAPED = r"[^\w. -]|_(?=0x)|^\."  # \w: letters and digits of all languages
CUT_ESCAPE = re.compile(r"_(0(x[0-9a-f]*)?)?$")


def escaped(name: str, also: str = "") -> str:
    """The name in letters, digits, blanks, `_`, `-` and `.` alone, in at most 250 bytes; no two names become one.

    Any other character becomes `_0xHEX_`, as does a dot at the start. A long name ends with a checksum of all of it.

    >>> escaped("cats & dogs")
    'cats _0x26_ dogs'

    Args:
        name: any text.
        also: further characters to escape.
    """
    pattern = f"{ESCAPED}|[{re.escape(also)}]" if also else ESCAPED
    return _fitted(re.sub(pattern, lambda found: f"_0x{ord(found[0]):x}_", name) or "_0x_")


def dotted(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings by dotted key as parameters of a run, with names escaped and values shortened."""
    return {escaped(str(key)): shortened(str(value)) for key, value in settings.items()}


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as parameters of a run; names are escaped, with the dots inside them, and values shortened.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': '1', 'c': '[2]'}
    """
    flat: dict[str, str] = {}
    for name, value in settings.items():
        key = prefix + escaped(str(name), also=".")
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{key}.")
        else:
            flat[_fitted(key)] = shortened(str(value))
    return flat


def shortened(text: str, limit: int = VALUE_CHARACTERS) -> str:
    """The text; one of more than `limit` characters is cut and ends with its length and a checksum.

    >>> shortened("seven dwarfs " * 999)[-47:]
    '… (12,987 characters, sha256 a8de2d95df6aabbb)'
    """
    if len(text) <= limit:
        return text
    end = f"… ({len(text):,} characters, sha256 {_checksum(text)})"
    return text[: limit - len(end)] + end


def _fitted(name: str) -> str:
    """An escaped name of at most `NAME_BYTES`; the end `_0x_CHECKSUM` is no escape, so no short name has it."""
    written = name.encode()
    if len(written) <= NAME_BYTES:
        return name
    end = f"_0x_{_checksum(name)}"
    return CUT_ESCAPE.sub("", written[: NAME_BYTES - len(end)].decode(errors="ignore")) + end


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]
