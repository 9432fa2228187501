"""An adapter as plain values and tensors, and back; which backbone it was trained on."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dynaxx.backbone import Head
from dynaxx.errors import ResonanceError, ResonanceWarning
from dynaxx.grid import Tap
from dynaxx.model.adapter import Adapter
from dynaxx.model.disagreement import Detector
from dynaxx.model.fingerprint import difference, fingerprint
from dynaxx.model.saving import BACKBONE, DISAGREEMENT, check_tensors, read

PREFIX = "resonator."
"""Prefix of the names of the resonator's tensors in a saved file."""


def start_from(adapter: Adapter, backbone: nn.Module, directory: str | Path, strict: bool = True) -> None:
    """Load the resonator saved in `directory`, without its student network; see `ResonantModel.start_from`."""
    description, tensors = read(Path(directory))
    where, resonator = f"directory={str(directory)!r}", adapter.require_couplings("start_from()")
    taps = [tap["path"] for tap in description["taps"]]
    if taps != list(adapter.paths):
        raise ResonanceError(f"{where}: its taps are {', '.join(taps)}, here they are {', '.join(adapter.paths)}")
    own = {n: t for n, t in resonator.state_dict().items() if not n.startswith("student.")}
    given = {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)}
    given = {n: t for n, t in given.items() if not n.startswith("student.")}
    check_tensors(where, own, given)
    check_backbone(where, description, backbone, strict)
    resonator.load_state_dict(given, strict=False)


def describe(adapter: Adapter, backbone: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The input of `restore` and of `saving.write`: a description in plain values, and the tensors."""
    resonator = adapter.require_built()
    resonator.exchange.update_certificate()
    tensors = {f"{PREFIX}{name}": tensor for name, tensor in resonator.state_dict().items()}
    if adapter.head is not None:
        tensors |= {f"head.{name}": tensor for name, tensor in adapter.head.state_dict().items()}
    description = {
        "config": adapter.config.to_dict(),
        "built_T": adapter.built_T,
        "taps": [dataclasses.asdict(tap) for tap in adapter.taps],
        "classifier": adapter.classifier,
        "student": resonator.student is not None,
    }
    if adapter.detector is not None:
        tensors |= {f"{DISAGREEMENT}.{name}": tensor for name, tensor in adapter.detector.state_dict().items()}
        description[DISAGREEMENT] = adapter.detector.describe()
    known_by = fingerprint(backbone, adapter.classifier)
    return description | ({} if known_by is None else {BACKBONE: known_by}), tensors


def restore(
    adapter: Adapter, description: dict[str, Any], tensors: dict[str, Tensor], like: Tensor | None, where: str
) -> None:
    """Build the adapter that `description` describes, and load the tensors.

    >>> restore(model.adapter, *describe(model.adapter, network), like=None, where="folder")

    Args:
        adapter: an adapter that is not built.
        description, tensors: the two results of `describe`.
        like: a tensor on the device for the parameters.
        where: text with which error messages begin.

    Raises:
        ResonanceError: the description and the tensors do not fit each other or this adapter.
    """
    adapter.build_from([Tap(**tap) for tap in description["taps"]], like, description["built_T"])
    resonator = adapter.require_built()
    if description["student"] and resonator.student is None:
        resonator.add_student(adapter.config)
    if adapter.classifier != description["classifier"]:
        raise ResonanceError(
            f"{where}: its head replaced {description['classifier']!r}, here it would be {adapter.classifier!r}"
        )
    parts: dict[str, nn.Module] = {PREFIX: resonator} | ({} if adapter.head is None else {"head.": adapter.head})
    if DISAGREEMENT in description:
        adapter.detector = Detector.from_description(adapter.taps, adapter.config, description[DISAGREEMENT]).eval()
        adapter.detector.to(None if like is None else like.device)
        parts[f"{DISAGREEMENT}."] = adapter.detector
    if adapter.head is not None and "head.scale" in tensors:
        adapter.head.in_units(tensors["head.shift"], tensors["head.scale"])
    check_tensors(where, {p + n: t for p, part in parts.items() for n, t in part.state_dict().items()}, tensors)
    for prefix, part in parts.items():
        part.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    if adapter.config.mode == "folded":
        resonator.fold(adapter.config)


def saved_head(directory: str | Path) -> Head:
    """The new head of the adapter saved in `directory`, without its backbone.

    >>> saved_head("adapter").weight.shape  # doctest: +SKIP
    torch.Size([10, 512])

    Raises:
        ResonanceError: a missing or damaged file, or an adapter that has no new head.
    """
    _, tensors = read(Path(directory))
    if "head.weight" not in tensors:
        raise ResonanceError(f"directory={str(directory)!r}: its adapter has no new head")
    head = Head(tensors["head.weight"].shape[1], tensors["head.weight"].shape[0])
    if "head.scale" in tensors:
        head.in_units(tensors["head.shift"], tensors["head.scale"])
    head.load_state_dict({name: tensors[f"head.{name}"] for name in head.state_dict()})
    return head


def check_backbone(where: str, description: dict[str, Any], backbone: nn.Module, strict: bool) -> None:
    """Raise ResonanceError, or only warn unless `strict`, if an adapter was saved on another backbone than this one.

    >>> check_backbone("file", describe(model.adapter, network)[0], network, strict=True)

    A file without a fingerprint, from an older version, fits every backbone.
    """
    saved = description.get(BACKBONE)
    found = None if saved is None else difference(saved, backbone, description["classifier"])
    if found is None:
        return
    line = f"{where}: its adapter was trained on another backbone, this one has {found}"
    if strict:
        raise ResonanceError(f"{line}; give the backbone that it was trained on, or strict=False to use it here")
    warnings.warn(line, ResonanceWarning, stacklevel=4)
