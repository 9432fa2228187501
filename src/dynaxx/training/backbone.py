"""The trained network under resonance: brought by the user, or trained here as a stand-in for one."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from safetensors.torch import load_file, save_file
from torch import nn

from dynaxx.data import ImageData, Prepared, normalise, stratified_halves
from dynaxx.training.rank import rank_zero

POINTER = "backbone.json"
WEIGHTS = "backbone.safetensors"


class BackboneError(ValueError):
    """A backbone that cannot be made, read or trusted; one line that names it and what would do."""


def train_backbone(params: Any, prepared: Prepared, out: Path, checkpoints: Path) -> str:
    """Train `params.model.network` on the pretraining images and write weights and pointer; returns what it found."""
    from dynaxx.training.classifier_module import ClassifierModule  # Lightning: seconds, needed here alone
    from dynaxx.training.fit import fit

    options, images = params.model.pretrain, prepared.pretrain()
    if len(images) == 0:
        raise BackboneError("data.pretrain_fraction=0 leaves nothing to train a backbone on; give model.weights")
    held, rest = stratified_halves(images.labels, options.val_fraction, params.data.split_seed)
    torch.manual_seed(params.data.split_seed)
    network = instantiate(params.model.network, num_classes=len(images.classes))
    data = ImageData(
        images.subset(rest),
        images.subset(held),
        mean=prepared.manifest.mean,
        std=prepared.manifest.std,
        batch_size=options.batch_size,
        augmentation=options.augmentation,
        seed=params.data.split_seed,
    )
    module = ClassifierModule(network, len(images.classes), options.lr, options.weight_decay)
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
        _check(network, prepared, "model.network")
        save_file({name: t.contiguous() for name, t in network.state_dict().items()}, out / WEIGHTS)
        _point(out, str(WEIGHTS), checksum(out / WEIGHTS), len(images.classes))
    return f"backbone trained on {len(images.classes)} classes, validation accuracy {accuracy:.3f}, {seconds:.0f} s"


def bring(model: Any, prepared: Prepared, out: Path) -> str:
    """Check the user's trained model and write a pointer to it with its checksum; nothing is trained or copied."""
    network = build(model)
    _check(network, prepared, f"model.weights={model.weights}")
    given = Path(model.weights)
    digest = checksum(given) if given.is_file() else _state_checksum(network)
    _point(out, model.weights, digest, None)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return f"backbone {model.weights} checked, {parameters:,} parameters, sha256 {digest[:12]}"


def load_backbone(model: Any, folder: Path) -> tuple[nn.Module, str]:
    """The trained backbone that the stage `pretrain` left or points to, in eval mode, and its checksum.

    Raises:
        BackboneError: weights missing, damaged or changed since they were checked.
    """
    pointer = json.loads((folder / POINTER).read_text())
    if model.weights is None:
        path = folder / pointer["weights"]
        network = instantiate(model.network, num_classes=pointer["num_classes"])
        network.load_state_dict(_read(path))
    else:
        network = build(model)
        path = Path(model.weights)
    digest = checksum(path) if path.is_file() else _state_checksum(network)
    if digest != pointer["sha256"]:
        raise BackboneError(f"{path}: changed since it was checked; run `dvc repro -f pretrain`")
    return network.eval().requires_grad_(False), digest


def build(model: Any) -> nn.Module:
    """The user's network with its weights: `timm:NAME`, or `model.network` filled from a local file.

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
    network = instantiate(model.network)
    try:
        network.load_state_dict(_read(path))
    except RuntimeError as error:
        raise BackboneError(f"{path}: does not fit model.network ({str(error).splitlines()[-1].strip()})") from None
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


@torch.no_grad()
def _check(network: nn.Module, prepared: Prepared, what: str) -> None:
    broken = next(
        (n for n, t in network.state_dict().items() if t.is_floating_point() and not t.isfinite().all()), None
    )
    if broken is not None:
        raise BackboneError(f"{what}: {broken} holds values that are not finite; give sound weights")
    manifest = prepared.manifest
    device = next(network.parameters()).device
    network.eval()
    try:
        output = network(normalise(prepared.task().images[:2], manifest.mean, manifest.std).to(device))
    except Exception as error:  # whatever the network raises on images that are not its own
        raise BackboneError(f"{what}: fails on images {manifest.image_shape} ({error}); set data.image_size") from None
    if not torch.isfinite(output).all():
        raise BackboneError(f"{what}: its output on the first images is not finite; give sound weights")


def _state_checksum(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _point(out: Path, weights: str, digest: str, num_classes: int | None) -> None:
    (out / POINTER).write_text(
        json.dumps({"weights": weights, "sha256": digest, "num_classes": num_classes}, indent=2) + "\n"
    )
