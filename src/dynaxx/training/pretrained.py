"""The trained backbone whose layers are coupled: the user's own network, or a small one that is trained here."""

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
    """A frozen network with its checksum and normalisation.

    >>> backbone = load_backbone(params.model, Path("outputs/pretrain"), channels=3)
    >>> logits = backbone.network(x)

    Attributes:
        network: network in eval mode, with all parameters frozen.
        checksum: SHA-256 of its weights.
        normalisation: normalisation with which it was trained.
        num_classes: number of classes of a backbone that was trained here; None for a user's network.
    """

    network: nn.Module
    checksum: str
    normalisation: Normalisation
    num_classes: int | None


class BackboneError(ValueError):
    """The error for a backbone that cannot be created, read or verified; its one-line message names the remedy."""


def train_backbone(params: Any, prepared: Prepared, out: Path, checkpoints: Path) -> str:
    """Train `params.model.network` on the pretraining images, write weights and location, and return a summary."""
    from dynaxx.data import ImageData  # these three import Lightning, which takes seconds and is needed here alone
    from dynaxx.training.classifier_module import ClassifierModule
    from dynaxx.training.fit import fit

    options, images = params.model.pretrain, prepared.pretrain()
    if len(images) == 0:
        raise BackboneError("data.pretrain_fraction=0 leaves nothing to train a backbone on; give model.weights")
    validation, training = stratified_halves(images.labels, options.val_fraction, params.data.split_seed)
    torch.manual_seed(params.data.split_seed)
    classes, channels = len(images.classes), prepared.manifest.image_shape[0]
    network = instantiate(params.model.network, num_classes=classes, **_inputs(params.model, channels))
    normalisation = prepared.manifest.normalisation
    _check(network, prepared, normalisation, "model.network")  # before time is spent on training
    data = ImageData(
        images.subset(training),
        images.subset(validation),
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
        _write_pointer(out, str(WEIGHTS), checksum(out / WEIGHTS), normalisation, classes)
    return f"backbone trained on {classes} classes, validation accuracy {accuracy:.3f}, {seconds:.0f} s"


def check_user_model(model: Any, prepared: Prepared, out: Path) -> str:
    """Check the user's trained model and write a file with its location and checksum; nothing is trained or copied."""
    channels = prepared.manifest.image_shape[0]
    network = build(model, channels)
    normalisation = _normalisation(model, network, prepared)
    _check(network, prepared, normalisation, f"model.weights={model.weights}")
    given = Path(model.weights)
    digest = checksum(given) if given.is_file() else _state_checksum(network)
    _write_pointer(out, model.weights, digest, normalisation, None)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    unused = len(prepared.pretrain_index)
    hint = f"; {unused} labelled images are unused; data.pretrain_fraction=0 gives them to the task" if unused else ""
    return f"backbone {model.weights} checked, {parameters:,} parameters, sha256 {digest[:12]}{hint}"


def load_backbone(model: Any, folder: Path, channels: int) -> Backbone:
    """Load the trained backbone that the stage `pretrain` wrote or whose location it recorded.

    >>> backbone = load_backbone(params.model, Path("outputs/pretrain"), channels=3)

    Args:
        model: section `model` of params.yaml.
        folder: output folder of the stage `pretrain`.
        channels: number of channels of the images.

    Raises:
        BackboneError: weights that are missing, damaged, or changed since they were checked.
    """
    pointer = json.loads((folder / POINTER).read_text())
    if model.weights is None:
        path = folder / pointer["weights"]
        network = untrained(model, channels, pointer["num_classes"])
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
    """The user's network with its weights: `timm:NAME`, or `model.network` with the weights of a local file.

    >>> network = build(OmegaConf.create({"weights": "timm:resnet18", "network": None}), channels=3)

    Args:
        model: section `model` of params.yaml.
        channels: number of channels of the images, for a network with in_channels=null.

    Raises:
        BackboneError: an unknown model name, a missing file, or weights that do not fit the network.
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


def untrained(model: Any, channels: int, num_classes: int | None) -> nn.Module:
    """The network of `params.model` with untrained weights; the caller then loads the trained weights.

    >>> network = untrained(params.model, channels=3, num_classes=None)
    >>> network.load_state_dict(load_file("backbone.safetensors"))

    Args:
        model: section `model` of params.yaml.
        channels: number of channels of the images, for a network with in_channels=null.
        num_classes: number of classes of a stand-in that was trained here; None for a user's network.
    """
    if str(model.weights).startswith("timm:"):
        import timm

        return timm.create_model(str(model.weights).removeprefix("timm:"), pretrained=False).eval()
    classes = {} if num_classes is None else {"num_classes": num_classes}
    network: nn.Module = instantiate(model.network, **classes, **_inputs(model, channels))
    return network.eval()


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
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
    """The argument `in_channels` of the network, if `model.network` leaves `in_channels` null."""
    return {"in_channels": channels} if model.network.get("in_channels", channels) is None else {}


def _normalisation(model: Any, network: nn.Module, prepared: Prepared) -> Normalisation:
    """Mean and standard deviation for the user's network: configured, else from the timm model, else from the data.

    Raises:
        BackboneError: only the mean or only the deviation is configured, or their lengths differ from the channels.
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
    except Exception as error:  # a network may raise any error on images of another kind
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


def _write_pointer(
    out: Path,
    weights: str,
    digest: str,
    normalisation: Normalisation,
    num_classes: int | None,
) -> None:
    pointer = {"weights": weights, "sha256": digest, "num_classes": num_classes, **normalisation._asdict()}
    (out / POINTER).write_text(json.dumps(pointer, indent=2) + "\n")
