"""The files of a saved resonant model: `resonance.json` and one safetensors file that it names.

The weights' file is named after its own content, and the JSON is renamed into place last. A killed process or a full
disk leaves either the old pair of files or the new pair, and mixed pairs are detected. Files of format 1, which
stored one matrix per coupling, can still be read.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dynaxx.errors import ResonanceError
from dynaxx.resonance import live_pairs

FORMAT, FORMAT_1 = "dynaxx-resonance-2", "dynaxx-resonance-1"
DESCRIPTION = "resonance.json"
KEYS = {"format", "weights", "sha256", "config", "built_T", "taps", "classifier", "student"}
BACKBONE = "backbone"
"""Key of the backbone's fingerprint, which older files lack."""
DISAGREEMENT = "disagreement"
"""Key of the options of a fitted disagreement, if there is one."""


def write(directory: Path, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write `tensors` and `description` into `directory`; the old files stay complete until the last rename.

    >>> write(Path(folder), *read(Path(folder)))

    Raises:
        ResonanceError: a file stands where the folder should be.
        OSError: the folder cannot be written; the old files are kept.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ResonanceError(f"directory={str(directory)!r}: a file is in the way; give a folder") from None
    payload = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    digest = hashlib.sha256(payload).hexdigest()
    name = f"resonance-{digest[:12]}.safetensors"
    text = json.dumps({"format": FORMAT, "weights": name, "sha256": digest} | description, indent=2) + "\n"
    _replace(directory / name, payload)
    _replace(directory / DESCRIPTION, text.encode())
    for old in directory.glob("resonance-*.safetensors"):
        if old.name != name:
            old.unlink()


def read(directory: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors that `write` wrote.

    >>> description, tensors = read(Path(folder))
    >>> description["built_T"]
    3

    Raises:
        ResonanceError: a file is missing, damaged, of another kind, or holds values that are not finite.
    """
    path = directory / DESCRIPTION
    try:
        description = json.loads(path.read_text())
    except FileNotFoundError:
        raise ResonanceError(f"directory={str(directory)!r}: no {DESCRIPTION} in it; give one that was saved") from None
    except (ValueError, OSError) as error:
        raise ResonanceError(f"{path}: cannot be read as JSON ({error}); save the model again") from None
    if (
        not isinstance(description, dict)
        or description.get("format") not in (FORMAT, FORMAT_1)
        or set(description) - {BACKBONE, DISAGREEMENT} != KEYS
    ):
        raise ResonanceError(f"{path}: not a description of format {FORMAT!r}; save the model again")
    weights = directory / Path(str(description["weights"])).name
    try:
        payload = weights.read_bytes()
    except OSError as error:
        raise ResonanceError(f"{weights}: cannot be read ({error.strerror}); save the model again") from None
    if hashlib.sha256(payload).hexdigest() != description["sha256"]:
        raise ResonanceError(f"{weights}: damaged, its checksum is not the one in {DESCRIPTION}; save the model again")
    try:
        tensors = load(payload)
    except SafetensorError as error:
        raise ResonanceError(f"{weights}: not a safetensors file ({error}); save the model again") from None
    broken = next((n for n, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()), None)
    if broken is not None:
        raise ResonanceError(f"{weights}: {broken} holds values that are not finite; train again")
    if description["format"] == FORMAT_1:
        description, tensors = _from_format_1(description, tensors, path)
    return description | {"taps": [_with_layout(tap) for tap in description["taps"]]}, tensors


def _with_layout(tap: dict[str, Any]) -> dict[str, Any]:
    """A tap's description, with the layout in place of the flag that older files have."""
    if "tokens" not in tap:
        return tap
    return {key: value for key, value in tap.items() if key != "tokens"} | {
        "layout": "BNC" if tap["tokens"] else "BCHW"
    }


def _from_format_1(
    description: dict[str, Any], tensors: dict[str, Tensor], path: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The content of a format-1 file in format 2: matrices grouped by tap, with the current tensor names."""
    try:
        taps, config = description["taps"], description["config"]
        outputs = {n for n, tap in enumerate(taps) if tap["seen"] or n == len(taps) - 1}
        if config["dynamics"] == "reentrant" and config["order"] == "gauss_seidel":
            outputs = set(range(len(taps)))
        pairs = live_pairs(len(taps), description["built_T"], outputs)
        V, U = ([tensors.pop(f"engine.couplings.{name}.{n}") for n in range(len(pairs))] for name in "VU")
        moved = {"engine.gate.": "gate.", "engine.student.": "student.", "engine.feedback.": "exchange.certificate."}
        renamed: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            old = next((prefix for prefix in moved if name.startswith(prefix)), "engine.")
            new = "resonator." + moved.get(old, "exchange.") + name.removeprefix(old)
            renamed[new if name.startswith("engine.") else name] = tensor
        for tap, channels in enumerate(tap["channels"] for tap in taps):
            none = torch.empty(channels, 0)
            read = [none, *(matrix for matrix, pair in zip(V, pairs, strict=True) if pair.source == tap)]
            written = [none.T, *(matrix for matrix, pair in zip(U, pairs, strict=True) if pair.target == tap)]
            renamed[f"resonator.exchange.couplings.V.{tap}"] = torch.cat(read, dim=1)
            renamed[f"resonator.exchange.couplings.U.{tap}"] = torch.cat(written)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ResonanceError(f"{path}: not a complete description of format {FORMAT_1!r} ({error})") from None
    taps = [{("output" if key == "seen" else key): value for key, value in tap.items()} for tap in taps]
    return description | {"taps": taps}, renamed


def check_tensors(where: str, own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Raise ResonanceError, with a message that begins with `where`, unless names and shapes agree."""
    known, found = ({name: tuple(t.shape) for name, t in tensors.items()} for tensors in (own, given))
    odd = sorted(n for n in known.keys() | found.keys() if known.get(n) != found.get(n))
    if odd:
        here, there = (shapes.get(odd[0], "missing") for shapes in (known, found))
        raise ResonanceError(f"{where}: tensor {odd[0]} is {there} in the file, {here} here")


def _replace(path: Path, payload: bytes) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
