"""The trained backbone whose layers are coupled: the user's own network, or a small one that is trained here."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from safetensors.torch import save_file
from torch import Tensor, nn

from dynaxx.data import Normalisation, Prepared, normalise, split_each_class
from dynaxx.training.distributed import rank_zero
from dynaxx.training.own_model import BackboneError, is_given, make, published, read_weights, with_weights
from dynaxx.training.wheel import load_wheel

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
        num_classes: number of classes with which the network is made; None: as many as it has by itself.
    """

    network: nn.Module
    checksum: str
    normalisation: Normalisation
    num_classes: int | None


def provide_backbone(params: Any, prepared: Prepared, out: Path, checkpoints: Path) -> str:
    """Check the user's trained model, or train a stand-in, for `load_backbone`; returns a summary.

    >>> provide_backbone(params, prepared, Path("outputs/pretrain"), Path("checkpoints"))  # doctest: +SKIP
    'backbone tf_efficientnet_lite0 checked, 4,652,008 parameters, sha256 5e984df53b00'

    Raises:
        BackboneError: weights that cannot be read, or images on which nothing can be trained.
    """
    if is_given(params.model):
        return check_user_model(params.model, prepared, out)
    return train_backbone(params, prepared, out, checkpoints)


def train_backbone(params: Any, prepared: Prepared, out: Path, checkpoints: Path) -> str:
    """Train `params.model.network` on the pretraining images, write weights and location, and return a summary."""
    from dynaxx.data import ImageData  # these three import Lightning, which takes seconds and is needed here alone
    from dynaxx.training.classifier_module import ClassifierModule
    from dynaxx.training.fit import fit

    options, images = params.model.pretrain, prepared.pretrain()
    if len(images) == 0:
        raise BackboneError("data.pretrain_fraction=0 leaves nothing to train a backbone on; bring a trained model")
    classes, channels = len(images.classes), prepared.manifest.image_shape[0]
    if classes < 2:
        raise BackboneError(f"a backbone cannot learn one class, {images.classes[0]!r}; give images of two or more")
    validation, training = _split(images.labels, options.val_fraction, params.data.split_seed)
    torch.manual_seed(params.data.split_seed)
    network = make(params.model, channels, classes)
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
    module = ClassifierModule(network, options.lr, options.weight_decay)
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
    few = round(options.val_fraction * len(images))
    adapted = f"; few images: {len(validation)} of {len(images)} to validate, not {few}" * (len(validation) != few)
    return f"backbone trained on {classes} classes, validation accuracy {accuracy:.3f}, {seconds:.0f} s{adapted}"


def _split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Images to validate and to train on; of few images, at least one of each class that has two is validated on.

    Raises:
        BackboneError: no class has two images.
    """
    validation, training = split_each_class(labels, fraction, seed, leave=1)
    if len(validation) == 0:
        raise BackboneError("no class has two images to pretrain on; give more images, or a trained model (model=timm)")
    return validation, training


def check_user_model(model: Any, prepared: Prepared, out: Path) -> str:
    """Check the user's trained model and write a file with its location and checksum; nothing is trained or copied."""
    channels = prepared.manifest.image_shape[0]
    network, num_classes = build(model, channels)
    normalisation = _normalisation(model, network, prepared)
    what = f"model.weights={model.weights}" if model.weights is not None else f"model.name={model.name}"
    _check(network, prepared, normalisation, what)
    digest = _state_checksum(network) if model.weights is None else checksum(Path(model.weights))
    _write_pointer(out, model.weights, digest, normalisation, num_classes)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    unused = len(prepared.pretrain_index)
    hint = f"; {unused} labelled images are unused; data.pretrain_fraction=0 gives them to the task" if unused else ""
    return f"backbone {what.partition('=')[2]} checked, {parameters:,} parameters, sha256 {digest[:12]}{hint}"


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
    if is_given(model):
        network, _ = build(model, channels)
        path = model.weights and Path(model.weights)
    else:
        path = folder / pointer["weights"]
        network = make(model, channels, pointer["num_classes"])
        network.load_state_dict(read_weights(path))
    digest = _state_checksum(network) if path is None else checksum(path)
    if digest != pointer["sha256"]:
        told = path or f"model.name={model.name}"
        raise BackboneError(f"{told}: changed since it was checked; run `dvc repro -f pretrain`")
    network.eval().requires_grad_(False)
    normalisation = Normalisation(tuple(pointer["mean"]), tuple(pointer["std"]))
    return Backbone(network, digest, normalisation, pointer["num_classes"])


def build(model: Any, channels: int) -> tuple[nn.Module, int | None]:
    """The user's network with its weights, and its number of classes if that followed from the weights.

    >>> network, _ = build(OmegaConf.create({"library": "timm", "name": "resnet18", "weights": None}), channels=3)

    Args:
        model: section `model` of params.yaml.
        channels: number of channels of the images, for a network with in_channels=null.

    Raises:
        BackboneError: an unknown model name, a missing file, or weights that do not fit the network.
    """
    if model.weights is not None:
        return with_weights(model, channels)
    return (published(model) if model.get("wheel") is None else load_wheel(model)), None


def untrained(model: Any, channels: int, num_classes: int | None) -> nn.Module:
    """The network of `params.model` with untrained weights; the caller then loads the trained weights.

    >>> network = untrained(params.model, channels=3, num_classes=None)
    >>> network.load_state_dict(load_file("backbone.safetensors"))

    Args:
        model: section `model` of params.yaml.
        channels: number of channels of the images, for a network with in_channels=null.
        num_classes: number of classes of the network; None: as many as it has by itself.
    """
    return make(model, channels, num_classes)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    if next(network.parameters(), None) is None:
        raise BackboneError(f"{what}: the network has no parameters; give one that is trained")
    device = next(network.parameters()).device
    network.eval()
    try:
        output = network(normalise(prepared.task().images[:2], normalisation).to(device))
    except Exception as error:  # a network may raise any error on images of another kind
        raise BackboneError(
            f"{what}: fails on images {manifest.image_shape} ({error}); "
            "set data.image_size, data.channels or model.network"
        ) from None
    if not isinstance(output, Tensor) or output.ndim != 2:
        kind = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise BackboneError(f"{what}: returns {kind} for two images; the pipeline needs logits (images, classes)")
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
    weights: str | None,
    digest: str,
    normalisation: Normalisation,
    num_classes: int | None,
) -> None:
    pointer = {"weights": weights, "sha256": digest, "num_classes": num_classes, **normalisation._asdict()}
    (out / POINTER).write_text(json.dumps(pointer, indent=2) + "\n")
