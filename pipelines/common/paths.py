"""Overrides on the command line, quoted for Hydra's grammar where a path needs it."""

import os
import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

PATHS = ("data.root", "model.weights", "train.pretrained", "sweep.storage")
"""Keys whose values are paths."""

SPACE = "sweep.space."
"""Beginning of keys whose values are in Hydra's words for sweeps, which Hydra itself takes with --multirun alone."""


def quoted(text: str) -> str:
    """Text as one value in Hydra's grammar.

    >>> quoted("it's")
    "'it\\\\'s'"
    """
    return QuotedString(text, Quote.single).with_quotes()


def with_quoted_paths(overrides: Sequence[str]) -> list[str]:
    """The overrides, with existing paths taken as they are: `~` is expanded, and no character is grammar.

    What a sweep tunes is quoted, too: it is read later, by the sweep.

    >>> with_quoted_paths(["data.root=images (2)", "resonance.T=6"])  # the folder exists
    ["data.root='images (2)'", 'resonance.T=6']

    Raises:
        ValueError: an override that Hydra cannot read; the message shows how to quote it.
    """
    return [_one(override) for override in overrides]


def _one(override: str) -> str:
    key, equals, value = override.partition("=")
    is_path = key.lstrip("+") in PATHS
    if is_path and value and _exists(path := os.path.expanduser(value)):
        return f"{key}={quoted(path)}"
    if key.lstrip("+").startswith(SPACE) and value[:1] not in ("", "'", '"', "{"):
        return f"{key}={quoted(value)}"
    try:
        OverridesParser.create().parse_override(override)
    except HydraException as error:
        if not equals:
            raise ValueError(f"{override!r} is no override; give KEY=VALUE, as resonance.rank=8") from None
        if is_path:
            raise ValueError(f"{override}: no such file or folder") from None
        try:
            OverridesParser.create().parse_override(f"{key}={quoted(value)}")
        except HydraException:
            raise ValueError(f"{override}: {' '.join(str(error).split())}") from None
        told = f"{key}={quoted(value)}"
        shown = shlex.quote(told) if set(told) & set('"$`\\') else f'"{told}"'
        raise ValueError(f"{override}: has characters of Hydra's grammar; quote the value: {shown}") from None
    return override


def _exists(path: str) -> bool:
    try:
        return os.path.exists(path)
    except ValueError:  # a null byte
        return False
