"""Passwords that are generated once and kept in files that only their owner can read."""

import os
import secrets
from pathlib import Path


def secret(file: Path) -> str:
    """The password in `file`; a new one is generated if the file does not exist."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    with os.fdopen(handle, "w") as opened:
        opened.write(secrets.token_urlsafe(24) + "\n")
    return file.read_text().strip()


def write_private(file: Path, text: str) -> None:
    """Write `text` to a file that only its owner can read, from its creation on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
