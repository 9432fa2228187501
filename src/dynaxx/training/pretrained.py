"""The trained network under resonance: brought by the user, or trained here as a stand-in for one."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from safetensors.torch import load_file, save_file
from torch import nn

from dynaxx.data import Normalisation, Prepared, normalise, stratified_halves
from dynaxx.training.distributed import rank_zero

POINTER = "backbone.json"
WEIGHTS = "backbone.safetensors"


class Backbone(NamedTuple):
    """A frozen network and what goes with it.

    Attributes:
        network: in eval mode, no parameter of it trains.
        checksum: sha256 of its weights.
        normalisation: the one that it was trained with.
        num_classes: of the stand-in that was trained here; None for a network of the user's.
    """

    network: nn.Module
    checksum: str
    normalisation: Normalisation
    num_classes: int | None


class BackboneError(ValueError):
    """A backbone that cannot be made, read or trusted; one line that names it and what would do."""


def train_backbone(params: Any, prepared: Prepared, out: Path, checkpoints: Path) -> str:
    """Train `params.model.network` on the pretraining images and write weights and pointer; returns what it found."""
    from dynaxx.data import ImageData  # these three import Lightning, which takes seconds and is needed here alone
    from dynaxx.training.classifier_module import ClassifierModule
    from dynaxx.training.fit import fit

    options, images = params.model.pretrain, prepared.pretrain()
    if len(images) == 0:
        raise BackboneError("data.pretrain_fraction=0 leaves nothing to train a backbone on; give model.weights")
    held, rest = stratified_halves(images.labels, options.val_fraction, params.data.split_seed)
    torch.manual_seed(params.data.split_seed)
    classes, channels = len(images.classes), prepared.manifest.image_shape[0]
    network = instantiate(params.model.network, num_classes=classes, **_inputs(params.model, channels))
    normalisation = prepared.manifest.normalisation
    _check(network, prepared, normalisation, "model.network")  # before the training is paid for
    data = ImageData(
        images.subset(rest),
        images.subset(held),
        normalisation=normalisation,
        batch_size=options.batch_size,
        augmentation=options.augmentation,
        seed=params.data.split_seed,
    )
    module = ClassifierModule(network, classes, options.lr, options.weight_decay)
    accuracy, seconds = fit(
        module,
        data,
        trainer=instantiate(params.trainer),
        checkpoints=checkpoints,
        epochs=options.epochs,
        patience=options.patience,
        seed=params.data.split_seed,
    )
    if rank_zero():
        _check(network, prepared, normalisation, "model.network")
        save_file({name: t.contiguous() for name, t in network.state_dict().items()}, out / WEIGHTS)
        _point(out, str(WEIGHTS), checksum(out / WEIGHTS), normalisation, classes)
    return f"backbone trained on {classes} classes, validation accuracy {accuracy:.3f}, {seconds:.0f} s"


def bring(model: Any, prepared: Prepared, out: Path) -> str:
    """Check the user's trained model and write a pointer to it with its checksum; nothing is trained or copied."""
    channels = prepared.manifest.image_shape[0]
    network = build(model, channels)
    normalisation = _normalisation(model, network, prepared)
    _check(network, prepared, normalisation, f"model.weights={model.weights}")
    given = Path(model.weights)
    digest = checksum(given) if given.is_file() else _state_checksum(network)
    _point(out, model.weights, digest, normalisation, None)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    unused = len(prepared.pretrain_index)
    hint = f"; {unused} labelled images lie idle, data.pretrain_fraction=0 gives them to the task" if unused else ""
    return f"backbone {model.weights} checked, {parameters:,} parameters, sha256 {digest[:12]}{hint}"


def load_backbone(model: Any, folder: Path, channels: int) -> Backbone:
    """The trained backbone that the stage `pretrain` left or points to.

    Args:
        model: section of params.yaml.
        folder: that `pretrain` wrote.
        channels: of the images.

    Raises:
        BackboneError: weights missing, damaged or changed since they were checked.
    """
    pointer = json.loads((folder / POINTER).read_text())
    if model.weights is None:
        path = folder / pointer["weights"]
        network = blank(model, channels, pointer["num_classes"])
        network.load_state_dict(_read(path))
    else:
        network = build(model, channels)
        path = Path(model.weights)
    digest = checksum(path) if path.is_file() else _state_checksum(network)
    if digest != pointer["sha256"]:
        raise BackboneError(f"{path}: changed since it was checked; run `dvc repro -f pretrain`")
    network.eval().requires_grad_(False)
    normalisation = Normalisation(tuple(pointer["mean"]), tuple(pointer["std"]))
    return Backbone(network, digest, normalisation, pointer["num_classes"])


def build(model: Any, channels: int) -> nn.Module:
    """The user's network with its weights: `timm:NAME`, or `model.network` filled from a local file.

    Args:
        model: section of params.yaml.
        channels: of the images, for a network that leaves its in_channels open.

    Raises:
        BackboneError: an unknown name, no such file, or weights that do not fit.
    """
    if str(model.weights).startswith("timm:"):
        import timm

        name = str(model.weights).removeprefix("timm:")
        if not timm.is_model(name.split(".")[0]):
            raise BackboneError(f"model.weights={model.weights}: timm knows no such model; see timm.list_models()")
        try:
            return timm.create_model(name, pretrained=True).eval()
        except Exception as error:  # the hub's client raises many kinds
            raise BackboneError(f"model.weights={model.weights}: cannot be fetched ({error}); give a file") from None
    path = Path(model.weights)
    if not path.is_file():
        raise BackboneError(
            f"model.weights={model.weights}: no such file; give a .safetensors or .pt file, or timm:NAME"
        )
    if model.network is None:
        raise BackboneError("model.network is null: name the network that the file's weights belong to")
    network = instantiate(model.network, **_inputs(model, channels))
    try:
        network.load_state_dict(_read(path))
    except RuntimeError as error:
        raise BackboneError(f"{path}: does not fit model.network ({str(error).splitlines()[-1].strip()})") from None
    return network.eval()


def blank(model: Any, channels: int, num_classes: int | None) -> nn.Module:
    """The network of `params.model` without its weights, for whoever has them already.

    Args:
        model: section of params.yaml.
        channels: of the images, for a network that leaves its in_channels open.
        num_classes: of the stand-in that was trained here; None for a network of the user's.
    """
    if str(model.weights).startswith("timm:"):
        import timm

        return timm.create_model(str(model.weights).removeprefix("timm:"), pretrained=False).eval()
    classes = {} if num_classes is None else {"num_classes": num_classes}
    network: nn.Module = instantiate(model.network, **classes, **_inputs(model, channels))
    return network.eval()


def checksum(path: Path) -> str:
    """sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, pickle, zip and torch each raise their own
        raise BackboneError(f"{path}: no readable weights ({' '.join(str(error).split())[:120]})") from None


def _inputs(model: Any, channels: int) -> dict[str, int]:
    """`in_channels` where `model.network` has it and leaves it null."""
    return {"in_channels": channels} if model.network.get("in_channels", channels) is None else {}


def _normalisation(model: Any, network: nn.Module, prepared: Prepared) -> Normalisation:
    """Mean and deviation that the user's network expects: given, else stated by a timm model, else the data's own.

    Raises:
        BackboneError: one of the two alone, or not one number a channel.
    """
    channels = prepared.manifest.image_shape[0]
    stated = getattr(network, "pretrained_cfg", None) or {}
    mean, std = model.get("mean"), model.get("std")
    if mean is None and std is None:
        mean, std = stated.get("mean"), stated.get("std")
        if mean is None or std is None or len(mean) != channels:
            return prepared.manifest.normalisation
    if mean is None or std is None or len(mean) != channels or len(std) != channels:
        raise BackboneError(f"model.mean={mean}, model.std={std}: give both, a number for each of {channels} channels")
    return Normalisation(tuple(map(float, mean)), tuple(map(float, std)))


@torch.no_grad()
def _check(network: nn.Module, prepared: Prepared, normalisation: Normalisation, what: str) -> None:
    broken = next(
        (n for n, t in network.state_dict().items() if t.is_floating_point() and not t.isfinite().all()), None
    )
    if broken is not None:
        raise BackboneError(f"{what}: {broken} holds values that are not finite; give sound weights")
    manifest = prepared.manifest
    device = next(network.parameters()).device
    network.eval()
    try:
        output = network(normalise(prepared.task().images[:2], normalisation).to(device))
    except Exception as error:  # whatever the network raises on images that are not its own
        raise BackboneError(
            f"{what}: fails on images {manifest.image_shape} ({error}); set data.image_size or model.network"
        ) from None
    if not torch.isfinite(output).all():
        raise BackboneError(f"{what}: its output on the first images is not finite; give sound weights")


def _state_checksum(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _point(
    out: Path,
    weights: str,
    digest: str,
    normalisation: Normalisation,
    num_classes: int | None,
) -> None:
    pointer = {"weights": weights, "sha256": digest, "num_classes": num_classes, **normalisation._asdict()}
    (out / POINTER).write_text(json.dumps(pointer, indent=2) + "\n")
